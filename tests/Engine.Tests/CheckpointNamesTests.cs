using System.Globalization;
using System.Text.Json;
using DeepSpeedSharp.Engine.Checkpoint;

namespace DeepSpeedSharp.Engine.Tests;

/// <summary>Names of files, against those of the original.</summary>
/// <remarks>
/// Kept: <c>latest</c> and what is in it, tags, and the names of stage 3, where every rank of the original writes a part of both
/// kinds. Not kept, as a file here is the same thing whatever wrote it: <c>bf16_</c>, since all is fp32 and loads in any precision;
/// and <c>mp_rank_MM_model_states</c> of one writer in stages 0 to 2, since every rank writes a part. The ending is the format's.
/// </remarks>
public sealed class CheckpointNamesTests
{
    private static readonly JsonElement Vectors =
        JsonDocument.Parse(File.ReadAllText(Path.Combine(AppContext.BaseDirectory, "vectors", "checkpoint_names.json"))).RootElement;

    public static TheoryData<int> Cases() => [.. Enumerable.Range(0, Vectors.GetProperty("files").GetArrayLength())];

    [Theory]
    [MemberData(nameof(Cases))]
    public void File_OfARank_IsCalledAsTheOriginals(int index)
    {
        JsonElement file = Vectors.GetProperty("files")[index];
        int rank = file.GetProperty("dp_rank").GetInt32();
        string? model = Ours(file.GetProperty("model_file").GetString()!, file);
        string? optimizer = file.GetProperty("optimizer_shard_file").GetString() is { } name ? Ours(name, file) : null;

        // Every case is either the original's name, or one of the differences above.
        Assert.Equal(file.GetProperty("zero_stage").GetInt32() == 3 ? ShardFiles.ModelFile(rank) : "mp_rank_00_model_states.safetensors", model);
        Assert.Equal(optimizer is null ? null : ShardFiles.OptimizerFile(rank), optimizer);
    }

    [Fact]
    public void Latest_AndItsContent_AreTheOriginals()
    {
        Assert.Equal($"ckpt/{CheckpointDirectory.LatestFileName}", Vectors.GetProperty("latest_file").GetString());
        Assert.Equal(Vectors.GetProperty("latest_content_for_tag_global_step10").GetString(), CheckpointDirectory.TagOf(10));
    }

    // There is one model-parallel rank here, and no bf16_.
    private static string Ours(string path, JsonElement file) => path["ckpt/global_step10/".Length..]
        .Replace("bf16_", "", StringComparison.Ordinal)
        .Replace(string.Create(CultureInfo.InvariantCulture, $"mp_rank_{file.GetProperty("mp_rank").GetInt32():00}"), "mp_rank_00", StringComparison.Ordinal)
        .Replace(".pt", ".safetensors", StringComparison.Ordinal);
}

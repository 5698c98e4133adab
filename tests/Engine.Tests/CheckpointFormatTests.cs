using System.Security.Cryptography;
using System.Text.Json.Nodes;

namespace DeepSpeedSharp.Engine.Tests;

/// <summary>Checkpoints of other releases.</summary>
public sealed class CheckpointFormatTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("format-tests-").FullName;

    public CheckpointFormatTests()
    {
        Ranks.Run(1, group => LoadOptionsTests.With(group, (engine, model, loader) =>
        {
            LoadOptionsTests.Train(engine, model, loader, 2);
            return engine.SaveCheckpoint(_folder);
        }));
    }

    private string Saved => Path.Combine(_folder, "global_step2");

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Fact]
    public void Load_FormatOne_GivesTheSame()
    {
        Dictionary<string, float[]> saved = SavedCheckpoint.Values(Saved);
        ToFormatOne();

        (long Steps, Dictionary<string, float[]> Again)[] loaded = Load();

        Assert.Equal(2, loaded[0].Steps);
        Assert.Equal(saved, loaded[0].Again);
    }

    [Theory]
    [InlineData("model.safetensors")]
    [InlineData("optimizer.safetensors")]
    [InlineData("rank_00000.safetensors")]
    public void Load_FormatOneWithAChangedByte_NamesTheFile(string file)
    {
        ToFormatOne();
        SavedCheckpoint.Flip(Path.Combine(Saved, file), new FileInfo(Path.Combine(Saved, file)).Length - 1);

        string message = Assert.Throws<CheckpointException>(() => Load()).Message;

        Assert.Contains(file, message, StringComparison.Ordinal);
    }

    [Fact]
    public void Load_NewerFormat_IsRefusedByItsNumber()
    {
        CheckpointManifest manifest = CheckpointManifest.Read(Saved);
        File.WriteAllBytes(Path.Combine(Saved, "manifest.json"), (manifest with { Format = 3 }).ToBytes());

        string message = Assert.Throws<CheckpointException>(() => Load()).Message;

        Assert.Contains($"{Saved} has format 3, this release reads 1 to 2", message, StringComparison.Ordinal);
    }

    [Fact]
    public void Parse_PiecesWithAGap_IsDamage()
    {
        CheckpointManifest manifest = CheckpointManifest.Read(Saved);
        TensorRecord first = manifest.Tensors[0];
        CheckpointManifest holed = manifest with
        {
            Tensors = [first with { Pieces = [first.Pieces[0] with { Length = first.Pieces[0].Length - 1 }] }, .. manifest.Tensors.Skip(1)],
        };

        var error = Assert.Throws<CheckpointException>(() => CheckpointManifest.Parse(Saved, System.Text.Encoding.UTF8.GetString(holed.ToBytes())));

        Assert.True(error.IsDamage);
        Assert.Contains(first.Name, error.Message, StringComparison.Ordinal);
    }

    private (long Steps, Dictionary<string, float[]> Again)[] Load() => Ranks.Run(1, group => LoadOptionsTests.With(group, (engine, model, loader) =>
    {
        engine.LoadCheckpoint(_folder);
        return (engine.GlobalSteps, SavedCheckpoint.Values(engine.SaveCheckpoint(Path.Combine(_folder, "again"))));
    }));

    // What releases before wrote: whole tensors in two files, random numbers in a third, checksums of files.
    private void ToFormatOne()
    {
        CheckpointManifest manifest = CheckpointManifest.Read(Saved);
        using (var tensors = new CheckpointTensors(Saved, manifest))
        {
            Write("model.safetensors", manifest.Tensors.Where(t => t.State is null), t => t.Name);
            Write("optimizer.safetensors", manifest.Tensors.Where(t => t.State?.StartsWith("exp", StringComparison.Ordinal) == true), t => t.FullName);
            Write("rank_00000.safetensors", manifest.Tensors.Where(t => t.State == "random.cpu"), t => t.State!);

            void Write(string file, IEnumerable<TensorRecord> records, Func<TensorRecord, string> name)
            {
                using var writer = new SafetensorsFileWriter(Path.Combine(Saved, file), [.. records.Select(t => (name(t), t.Type, t.Shape))]);
                foreach (TensorRecord tensor in records)
                {
                    var bytes = new byte[tensor.Elements * ElementTypes.SizeOf(tensor.Type)];
                    tensors.Read(tensor, 0, bytes);
                    writer.Append(bytes);
                    _ = writer.EndTensor();
                }

                _ = writer.Complete();
            }
        }

        foreach (FileRecord file in manifest.Files)
        {
            File.Delete(Path.Combine(Saved, file.Name));
        }

        var old = new JsonObject
        {
            ["format"] = 1,
            ["tag"] = manifest.Tag,
            ["world_size"] = 1,
            ["state"] = manifest.State.DeepClone(),
            ["files"] = new JsonArray([.. Directory.GetFiles(Saved, "*.safetensors").Select(path => new JsonObject
            {
                ["name"] = Path.GetFileName(path),
                ["bytes"] = new FileInfo(path).Length,
                ["sha256"] = Convert.ToHexStringLower(SHA256.HashData(File.ReadAllBytes(path))),
            })]),
        };
        File.WriteAllText(Path.Combine(Saved, "manifest.json"), old.ToJsonString());
    }
}

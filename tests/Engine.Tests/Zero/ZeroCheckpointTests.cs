using TorchSharp;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine.Tests.Zero;

public sealed class ZeroCheckpointTests : IDisposable
{
    private const string Clipped = "\"train_batch_size\": 12, \"gradient_clipping\": 0.5,";

    private const string Three = """{"stage": 3, "stage3_param_persistence_threshold": 0}""";

    private const string Offloaded = """
        {"stage": 3, "stage3_param_persistence_threshold": 0, "offload_optimizer": {"device": "cpu"}, "offload_param": {"device": "cpu"} }
        """;

    private static readonly int[] Stages = [0, 1, 2, 3];

    private readonly string _folder = Directory.CreateTempSubdirectory("zero-checkpoint-tests-").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    public static TheoryData<int, int> Loading()
    {
        var data = new TheoryData<int, int>();
        foreach (int ranks in (int[])[1, 2, 3])
        {
            foreach (int stage in Stages)
            {
                data.Add(ranks, stage);
            }
        }

        return data;
    }

    [Theory]
    [MemberData(nameof(Loading))]
    public void Load_SavedByFourRanksInStageTwo_GoesOnAsIfNeverInterrupted(int ranks, int stage) =>
        LoadGoesOn((4, """{"stage": 2}"""), (ranks, $$"""{"stage": {{stage}}}"""), "");

    [Theory]
    [MemberData(nameof(Loading))]
    public void Load_SavedByFourRanksInStageThreeWithOffload_GoesOnAsIfNeverInterrupted(int ranks, int stage) =>
        LoadGoesOn((4, Offloaded), (ranks, $$"""{"stage": {{stage}}}"""), "");

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    public void Load_SavedWithoutOffload_GoesOnWithIt(int ranks) => LoadGoesOn((4, Three), (ranks, Offloaded), "");

    [Theory]
    [InlineData(2, """{"stage": 0}""", 4, """{"stage": 2, "round_robin_gradients": true}""")]
    [InlineData(3, """{"stage": 1, "round_robin_gradients": true}""", 2, """{"stage": 2}""")]
    [InlineData(1, """{"stage": 2}""", 3, """{"stage": 1}""")]
    [InlineData(4, Three, 1, """{"stage": 0}""")]
    [InlineData(4, Three, 2, """{"stage": 1}""")]
    [InlineData(4, Three, 3, """{"stage": 2, "round_robin_gradients": true}""")]
    [InlineData(3, Three, 4, """{"stage": 3}""")]
    [InlineData(2, """{"stage": 0}""", 4, Three)]
    public void Load_SavedInAnotherLayout_GoesOnAsIfNeverInterrupted(int savedBy, string saved, int loadedBy, string loaded) =>
        LoadGoesOn((savedBy, saved), (loadedBy, loaded), "");

    // In 16 bits the masters are what has to survive.
    [Theory]
    [InlineData("""{"stage": 2}""", """{"stage": 1, "round_robin_gradients": true}""")]
    [InlineData(Three, """{"stage": 1}""")]
    [InlineData("""{"stage": 1}""", Three)]
    [InlineData("""{"stage": 2}""", """{"stage": 3}""")]
    public void Load_Bf16InAnotherLayout_RestoresTheMasters(string saved, string loaded)
    {
        const string Rest = Clipped + "\"bf16\": {\"enabled\": true},";
        string again = Path.Combine(_folder, "again");
        Ranks.Run(4, group => ZeroRun.Train(group, saved, 3, Rest, save: _folder));

        Ranks.Run(3, group => ZeroRun.Train(group, loaded, 0, Rest, load: _folder, save: again));

        Assert.Equal(SavedCheckpoint.Values(Path.Combine(_folder, "global_step3")), SavedCheckpoint.Values(Path.Combine(again, "global_step3")));
    }

    [Fact]
    public void Load_NotFromFp32Weights_StartsMastersFromRoundedWeights()
    {
        const string Rest = Clipped + "\"bf16\": {\"enabled\": true},";
        string again = Path.Combine(_folder, "again");
        Ranks.Run(2, group => ZeroRun.Train(group, """{"stage": 1}""", 3, Rest, save: _folder));

        Ranks.Run(2, group => ZeroRun.Train(group, """{"stage": 2, "load_from_fp32_weights": false}""", 0, Rest, load: _folder, save: again));

        Dictionary<string, float[]> masters = SavedCheckpoint.Values(Path.Combine(_folder, "global_step3"));
        Dictionary<string, float[]> rounded = SavedCheckpoint.Values(Path.Combine(again, "global_step3"));
        Assert.NotEqual(masters["second.weight"], rounded["second.weight"]);
        Assert.Equal(masters["second.weight"].Select(v => Rounded(v)), rounded["second.weight"]);
    }

    private static float Rounded(float value)
    {
        using Tensor wide = tensor(value);
        using Tensor narrow = wide.to(bfloat16);
        using Tensor again = narrow.to(float32);
        return again.ToSingle();
    }

    private void LoadGoesOn((int Ranks, string Zero) saved, (int Ranks, string Zero) loaded, string rest)
    {
        ZeroRun uninterrupted = Ranks.Run(1, group => ZeroRun.Train(group, """{"stage": 0}""", 8, Clipped + rest))[0];
        Ranks.Run(saved.Ranks, group => ZeroRun.Train(group, saved.Zero, 3, Clipped + rest, save: _folder));

        ZeroRun[] resumed = Ranks.Run(loaded.Ranks, group => ZeroRun.Train(group, loaded.Zero, 5, Clipped + rest, load: _folder));

        foreach (ZeroRun run in resumed)
        {
            Vectors.Close(uninterrupted.Parameters, run.Parameters, 1e-5, 2e-6);
            Vectors.Close([.. uninterrupted.Metrics.Skip(3).Select(m => (float)m.Loss)], [.. run.Metrics.Select(m => (float)m.Loss)], 1e-5, 1e-6);
            Assert.Equal("""{"note":"mine"}""", run.ClientState!.ToJsonString());
        }
    }
}

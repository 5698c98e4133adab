using DeepSpeedSharp.Config;
using DeepSpeedSharp.Engine.Comm;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine.Tests.Zero;

/// <summary>A checkpoint that is cut or changed is refused by the name of the file, and the one before still loads.</summary>
public sealed class CheckpointDamageTests : IDisposable
{
    private const int Writers = 2;

    private readonly string _folder = Directory.CreateTempSubdirectory("damage-tests-").FullName;

    public CheckpointDamageTests()
    {
        string saved = Path.Combine(_folder, "saved");
        Ranks.Run(Writers, group => ZeroRun.Train(group, """{"stage": 2}""", 1, save: saved));
        Ranks.Run(Writers, group => ZeroRun.Train(group, """{"stage": 2}""", 2, load: saved, save: saved));
    }

    private string Saved => Path.Combine(_folder, "saved");

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    public static TheoryData<string> Files() =>
    [
        .. Enumerable.Range(0, Writers).SelectMany(rank => (string[])[Checkpoint.ShardFiles.ModelFile(rank), Checkpoint.ShardFiles.OptimizerFile(rank)]),
        "manifest.json",
    ];

    [Theory]
    [MemberData(nameof(Files))]
    public void Load_CutAtEveryBoundary_IsRefusedAndThePreviousOneLoads(string name)
    {
        string path = Path.Combine(Saved, "global_step3", name);
        long length = new FileInfo(path).Length;
        long[] boundaries = [0, 1, 8, 64, length / 2, length - 1];
        if (name.EndsWith(".safetensors", StringComparison.Ordinal))
        {
            using var file = new SafetensorsFile(path);
            boundaries = [.. boundaries, file.Header.Length, .. file.Entries.Select(e => e.Offset), .. file.Entries.Select(e => e.Offset + e.Bytes)];
        }

        foreach (long boundary in boundaries.Distinct().Where(b => b < length))
        {
            AfterDamage(name, copy => SavedCheckpoint.Cut(copy, boundary));
        }

        AfterDamage(name, File.Delete);
    }

    [Theory]
    [MemberData(nameof(Files))]
    public void Load_OneBitChangedAnywhere_IsRefusedAndThePreviousOneLoads(string name)
    {
        string path = Path.Combine(Saved, "global_step3", name);
        long length = new FileInfo(path).Length;
        var random = new Random(name.Length);

        foreach (long position in (long[])[0, 9, length / 3, length - 2, length - 1, .. Enumerable.Range(0, 12).Select(_ => random.NextInt64(length))])
        {
            AfterDamage(name, copy => SavedCheckpoint.Flip(copy, position));
        }
    }

    [Fact]
    public void Load_LatestIsCut_TakesTheNewest()
    {
        SavedCheckpoint.Cut(Path.Combine(Saved, "latest"), 0);

        Assert.Equal(3, Ranks.Run(1, group => With(group, engine =>
        {
            engine.LoadCheckpoint(Saved);
            return engine.GlobalSteps;
        }))[0]);
    }

    private void AfterDamage(string name, Action<string> damage)
    {
        string copy = Path.Combine(_folder, "copy");
        SavedCheckpoint.Copy(Saved, copy);
        damage(Path.Combine(copy, "global_step3", name));

        string[] refusals = Ranks.Run(2, group => With(group, engine =>
            string.Join('\n', Assert.Throws<CheckpointException>(() => engine.LoadCheckpoint(copy, "global_step3")).Message,
                name == "manifest.json" && !File.Exists(Path.Combine(copy, "global_step3", name)) ? name
                    : Assert.Throws<CheckpointException>(() => engine.LoadCheckpoint(copy)).Message)));
        long[] steps = Ranks.Run(1, group => With(group, engine =>
        {
            engine.LoadCheckpoint(copy, options: new LoadCheckpointOptions { FallBackToPrevious = true });
            return engine.GlobalSteps;
        }));

        Assert.All(refusals, text => Assert.All(text.Split('\n'), line => Assert.Contains(name, line, StringComparison.Ordinal)));
        Assert.Equal([1], steps);
        Directory.Delete(copy, recursive: true);
    }

    private static T With<T>(ProcessGroup group, Func<DeepSpeedEngine, T> use)
    {
        DeepSpeedConfig config = DeepSpeedConfig.Parse("""
            {"train_micro_batch_size_per_gpu": 2, "optimizer": {"type": "AdamW"}, "zero_optimization": {"stage": 1}}
            """);
        (DeepSpeedEngine engine, _, _, _) = DeepSpeed.Initialize(new OddModel(), config, group, CPU, printsProgress: false);
        using (engine)
        {
            return use(engine);
        }
    }
}

using DeepSpeedSharp.Config;
using DeepSpeedSharp.Engine.Comm;
using DeepSpeedSharp.Engine.Data;
using DeepSpeedSharp.Engine.Tests.Zero;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine.Tests;

/// <summary>What each option of loading and saving leaves alone.</summary>
public sealed class LoadOptionsTests : IDisposable
{
    private const string Stage1 = "\"zero_optimization\": {\"stage\": 1},";

    private readonly string _folder = Directory.CreateTempSubdirectory("load-options-").FullName;

    public LoadOptionsTests()
    {
        Ranks.Run(2, group => With(group, (engine, model, loader) =>
        {
            Train(engine, model, loader, 3);
            engine.SaveCheckpoint(_folder);
            return 0;
        }));
    }

    private string Saved => Path.Combine(_folder, "global_step3");

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void Load_ModuleOnly_RestoresWeightsAndNothingElse(bool is16Bit)
    {
        (float[] weights, long steps, long iteration, Dictionary<string, float[]> again)[] loaded = Ranks.Run(2, group => With(group, (engine, model, loader) =>
        {
            engine.LoadCheckpoint(_folder, options: new LoadCheckpointOptions { LoadModuleOnly = true });
            (float[], long, long) result = (model.Flat(), engine.GlobalSteps, engine.Schedule!.LastBatchIteration);
            return (result.Item1, result.Item2, result.Item3, SavedCheckpoint.Values(engine.SaveCheckpoint(_folder, "again")));
        }, is16Bit ? "\"bf16\": {\"enabled\": true}," : ""));

        foreach ((float[] weights, long steps, long iteration, Dictionary<string, float[]> again) in loaded)
        {
            Assert.Equal(0, steps);
            Assert.NotEqual(2, iteration);
            Assert.Equal(SavedCheckpoint.Model(Saved), again.Where(p => !p.Key.StartsWith("exp_avg", StringComparison.Ordinal)).ToDictionary());
            Assert.All(again["exp_avg.second.weight"], v => Assert.Equal(0, v));
        }
    }

    [Fact]
    public void Load_WithoutOptimizerStates_KeepsMomentsAndRestoresCounters()
    {
        (long Steps, long Updates, float Moment)[] loaded = Ranks.Run(1, group => With(group, (engine, model, loader) =>
        {
            engine.LoadCheckpoint(_folder, options: new LoadCheckpointOptions { LoadOptimizerStates = false });
            return (engine.GlobalSteps, engine.Optimizer.Steps, SavedCheckpoint.Values(engine.SaveCheckpoint(_folder, "again"))["exp_avg.second.weight"].Max());
        }));

        Assert.Equal([(3L, 0L, 0f)], loaded);
    }

    [Fact]
    public void Load_WithoutSchedule_LeavesItWhereItIs()
    {
        long[] iterations = Ranks.Run(1, group => With(group, (engine, model, loader) =>
        {
            Train(engine, model, loader, 1);
            engine.LoadCheckpoint(_folder, options: new LoadCheckpointOptions { LoadLrSchedulerStates = false });
            return engine.Schedule!.LastBatchIteration;
        }));

        Assert.Equal([0L], iterations);
    }

    [Fact]
    public void Load_NotStrict_ToleratesNamesButNotShapes()
    {
        var lenient = new LoadCheckpointOptions { LoadModuleStrict = false };
        Ranks.Run(1, group =>
        {
            TorchSharp.Modules.Linear first = nn.Linear(3, 37), more = nn.Linear(2, 2);
            var other = nn.Sequential(("first", first), ("extra", more));
            float[] extra = [.. more.weight!.data<float>()];
            (DeepSpeedEngine engine, _, _, _) = DeepSpeed.Initialize(other, Config(""), group, CPU);
            using (engine)
            {
                Assert.Contains("extra.weight is missing", Assert.Throws<CheckpointException>(() => engine.LoadCheckpoint(_folder)).Message, StringComparison.Ordinal);

                engine.LoadCheckpoint(_folder, options: lenient);

                Assert.Equal(SavedCheckpoint.Values(Saved)["first.weight"], first.weight!.data<float>().ToArray());
                Assert.Equal(extra, more.weight!.data<float>().ToArray());
            }

            (engine, _, _, _) = DeepSpeed.Initialize(nn.Sequential(("first", nn.Linear(4, 37))), Config(""), group, CPU);
            using (engine)
            {
                Assert.Contains("first.weight is [37, 3], the model has [37, 4]",
                    Assert.Throws<CheckpointException>(() => engine.LoadCheckpoint(_folder, options: lenient)).Message, StringComparison.Ordinal);
            }
        });
    }

    [Fact]
    public void Load_CustomLoad_GivesTheValues()
    {
        float[][] loaded = Ranks.Run(2, group => With(group, (engine, model, loader) =>
        {
            engine.LoadCheckpoint(_folder, options: new LoadCheckpointOptions { CustomLoad = Doubled });
            using Tensor wide = model.second.weight!.to(float32);
            return wide.data<float>().ToArray();
        }));

        Assert.All(loaded, values => Assert.Equal(SavedCheckpoint.Values(Saved)["second.weight"].Select(v => 2 * v), values));
        Assert.Contains("nowhere, which is not in the model", Ranks.Run(1, group => With(group, (engine, model, loader) =>
            Assert.Throws<CheckpointException>(() => engine.LoadCheckpoint(_folder, options: new LoadCheckpointOptions { CustomLoad = _ => [("nowhere", zeros(1))] })).Message))[0],
            StringComparison.Ordinal);

        static IEnumerable<(string, Tensor)> Doubled(Checkpoint.CheckpointWeights source)
        {
            foreach (string name in source.Names)
            {
                Tensor value = source.Read(name);
                using (no_grad())
                {
                    value.mul_(2);
                }

                yield return (name, value);
            }
        }
    }

    [Theory]
    [InlineData("manifest.json")]
    [InlineData("zero_pp_rank_0_mp_rank_00_model_states.safetensors")]
    public void Load_FallingBack_NeverTakesANewerOne(string damaged)
    {
        long[] steps = Ranks.Run(1, group => With(group, (engine, model, loader) =>
        {
            engine.LoadCheckpoint(_folder);
            for (int more = 0; more < 2; more++)
            {
                Train(engine, model, loader, 1);
                engine.SaveCheckpoint(_folder);
            }

            File.WriteAllText(Path.Combine(_folder, "latest"), "global_step4"); // somebody went back
            SavedCheckpoint.Flip(Path.Combine(_folder, "global_step4", damaged), 20);
            engine.LoadCheckpoint(_folder, options: new LoadCheckpointOptions { FallBackToPrevious = true });
            return engine.GlobalSteps;
        }));

        Assert.Equal([3L], steps);
    }

    [Fact]
    public void Load_UniversalAndNoCheckpoint_IsAnError()
    {
        string empty = Path.Combine(_folder, "empty");

        Ranks.Run(1, group => With(group, (engine, model, loader) => Assert.Equal((null, null), engine.LoadCheckpoint(empty))));
        Ranks.Run(1, group => With(group, (engine, model, loader) => Assert.Throws<CheckpointException>(() => engine.LoadCheckpoint(empty)),
            "\"checkpoint\": {\"load_universal\": true},"));
    }

    [Fact]
    public void Save_WithoutLatest_LeavesItAlone()
    {
        Ranks.Run(1, group => With(group, (engine, model, loader) => engine.SaveCheckpoint(_folder, "other", options: new SaveCheckpointOptions { SaveLatest = false })));

        Assert.Equal("global_step3", File.ReadAllText(Path.Combine(_folder, "latest")));
        Assert.True(File.Exists(Path.Combine(_folder, "other", "manifest.json")));
    }

    [Fact]
    public void Save_KeepingTwo_DeletesOlderOnesButNeverTheLatest()
    {
        Ranks.Run(2, group => With(group, (engine, model, loader) =>
        {
            for (int step = 1; step <= 5; step++)
            {
                Train(engine, model, loader, 1);
                // From step 3 on, latest goes on naming step 2.
                engine.SaveCheckpoint(_folder, options: new SaveCheckpointOptions { KeepLast = 2, SaveLatest = step <= 2 });
            }

            return 0;
        }));

        Assert.Equal(["global_step2", "global_step4", "global_step5"], Directory.GetDirectories(_folder).Select(Path.GetFileName).Order(StringComparer.Ordinal));
    }

    [Fact]
    public void Save_WithoutFrozenParameters_LoadsWhenNotStrict()
    {
        var excluding = new SaveCheckpointOptions { ExcludeFrozenParameters = true };
        string folder = Path.Combine(_folder, "frozen");
        Ranks.Run(1, group =>
        {
            (DeepSpeedEngine engine, _, _, _) = DeepSpeed.Initialize(Frozen(), Config(""), group, CPU);
            using (engine)
            {
                string path = engine.SaveCheckpoint(folder, options: excluding);
                Assert.Equal(["bias"], SavedCheckpoint.Model(path).Keys);
                Assert.Contains("weight is missing", Assert.Throws<CheckpointException>(() => engine.LoadCheckpoint(folder)).Message, StringComparison.Ordinal);
                Assert.NotNull(engine.LoadCheckpoint(folder, options: new LoadCheckpointOptions { LoadModuleStrict = false }).Path);
            }
        });

        static nn.Module Frozen()
        {
            TorchSharp.Modules.Linear model = nn.Linear(2, 2);
            model.weight!.requires_grad = false;
            return model;
        }
    }

    [Theory]
    [InlineData("Fail", false)]
    [InlineData("Warn", true)]
    [InlineData("Ignore", true)]
    public void Save_TagsThatDiffer_AreTreatedAsTheConfigSays(string validation, bool saves)
    {
        Type?[] errors = Ranks.Run(2, group => With(group, (engine, model, loader) => Record.Exception(
            () => engine.SaveCheckpoint(_folder, $"of_rank_{group.Rank}"))?.GetType(), $$"""
            "checkpoint": {"tag_validation": "{{validation}}"},
            """));

        Assert.All(errors, error => Assert.Equal(saves ? null : typeof(CheckpointException), error));
        Assert.Equal(saves, Directory.Exists(Path.Combine(_folder, "of_rank_0")));
        Assert.False(Directory.Exists(Path.Combine(_folder, "of_rank_1")));
    }

    internal static void Train(DeepSpeedEngine engine, OddModel model, DataLoader<(Tensor X, Tensor Y)> loader, int steps)
    {
        for (int done = 0; done < steps;)
        {
            done += ZeroRun.Step(engine, model, loader) is null ? 0 : 1;
        }
    }

    internal static T With<T>(ProcessGroup group, Func<DeepSpeedEngine, OddModel, DataLoader<(Tensor X, Tensor Y)>, T> use, string rest = "")
    {
        var model = new OddModel();
        (DeepSpeedEngine engine, _, DataLoader<(Tensor X, Tensor Y)>? loader, _) =
            DeepSpeed.Initialize(model, Config(rest), new OddData(), group, CPU, printsProgress: false);
        using (engine)
        {
            return use(engine, model, loader!);
        }
    }

    private static void With(ProcessGroup group, Action<DeepSpeedEngine, OddModel, DataLoader<(Tensor X, Tensor Y)>> use) => With(group, (engine, model, loader) =>
    {
        use(engine, model, loader);
        return 0;
    });

    private static DeepSpeedConfig Config(string rest) => DeepSpeedConfig.Parse($$"""
        { {{rest}} {{(rest.Contains("zero_opt", StringComparison.Ordinal) ? "" : Stage1)}}
          "train_micro_batch_size_per_gpu": 2, "optimizer": {"type": "AdamW", "params": {"lr": 0.01} },
          "scheduler": {"type": "WarmupLR", "params": {"warmup_num_steps": 6} } }
        """);
}

using DeepSpeedSharp.Config;
using DeepSpeedSharp.Engine.Comm;
using DeepSpeedSharp.Engine.Data;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine.Tests.Zero.Offload;

/// <summary>State that leaves the device between two steps.</summary>
public sealed class OffloadStatesTests
{
    public static TheoryData<int, string, string> Cases()
    {
        var data = new TheoryData<int, string, string>();
        foreach (int stage in (int[])[0, 1, 2, 3])
        {
            data.Add(stage, "", "");
            data.Add(stage, "OptimStates", "\"bf16\": {\"enabled\": true},");
            data.Add(stage, "HpParams,LpGrads", "\"bf16\": {\"enabled\": true},");
            data.Add(stage, "LpParams,ContiguousGradBuffer", "");
        }

        return data;
    }

    [Theory]
    [MemberData(nameof(Cases))]
    public void OffloadAndReload_BetweenSteps_ChangesNothing(int stage, string include, string rest)
    {
        float[] Train(bool moves) => Ranks.Run(2, group =>
        {
            (DeepSpeedEngine engine, OddModel model, DataLoader<(Tensor X, Tensor Y)> loader) = Start(group, stage, rest);
            using (engine)
            {
                for (int step = 0; step < 4; step++)
                {
                    ZeroRun.Step(engine, model, loader);
                    if (moves)
                    {
                        OffloadStateType[]? types = include.Length == 0 ? null : [.. include.Split(',').Select(Enum.Parse<OffloadStateType>)];
                        engine.OffloadStates(types, pinMemory: step % 2 == 0, nonBlocking: step > 1);
                        engine.ReloadStates(nonBlocking: step > 1);
                    }
                }

                return model.Flat();
            }
        })[0];

        Assert.Equal(Train(moves: false), Train(moves: true));
    }

    [Theory]
    [InlineData(0)]
    [InlineData(2)]
    [InlineData(3)]
    public void EverythingMoved_NothingCanBeDone_AndParametersReadAsNaN(int stage) => Ranks.Run(1, group =>
    {
        (DeepSpeedEngine engine, OddModel model, DataLoader<(Tensor X, Tensor Y)> loader) = Start(group, stage, "");
        using (engine)
        {
            ZeroRun.Step(engine, model, loader);
            engine.OffloadStates();

            foreach (Action call in (Action[])[() => engine.Forward(() => zeros(1)), () => engine.Step(), () => engine.SaveCheckpoint("x"),
                () => engine.LoadCheckpoint("x"), () => engine.OffloadStates(), engine.ZeroGrad, () => engine.ModuleStateDict()])
            {
                Assert.Contains("ReloadStates()", Assert.Throws<InvalidOperationException>(call).Message, StringComparison.Ordinal);
            }

            Assert.All(stage == 3 ? [] : model.Flat(), value => Assert.True(float.IsNaN(value)));
            engine.ReloadStates();
            engine.ReloadStates(); // once is enough
            engine.EmptyPartitionCache();
            Assert.NotNull(ZeroRun.Step(engine, model, loader));
            engine.OffloadStates(); // and is disposed so
        }
    });

    [Fact]
    public void OffloadStates_ToADisk_IsRefused() => Ranks.Run(1, group =>
    {
        (DeepSpeedEngine engine, _, _) = Start(group, 1, "");
        using (engine)
        {
            Assert.Contains("offload_optimizer", Assert.Throws<ArgumentException>(() => engine.OffloadStates(device: OffloadDevice.Nvme)).Message,
                StringComparison.Ordinal);
        }
    });

    private static (DeepSpeedEngine Engine, OddModel Model, DataLoader<(Tensor X, Tensor Y)> Loader) Start(ProcessGroup group, int stage, string rest)
    {
        DeepSpeedConfig config = DeepSpeedConfig.Parse($$"""
            {"train_micro_batch_size_per_gpu": 2, {{rest}} "optimizer": {"type": "AdamW", "params": {"lr": 0.01} },
             "zero_optimization": {"stage": {{stage}}, "param_persistence_threshold": 0} }
            """.Replace(", \"param_persistence_threshold\": 0", stage == 3 ? ", \"param_persistence_threshold\": 0" : "", StringComparison.Ordinal));
        var model = new OddModel();
        (DeepSpeedEngine engine, _, DataLoader<(Tensor X, Tensor Y)>? loader, _) =
            DeepSpeed.Initialize(model, config, new OddData(), group, CPU, printsProgress: false);
        return (engine, model, loader!);
    }
}

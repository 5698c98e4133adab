using DeepSpeedSharp.Config;
using DeepSpeedSharp.Engine.ActivationCheckpointing;
using DeepSpeedSharp.Engine.Comm;
using DeepSpeedSharp.Engine.Data;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine.Tests.Zero;

/// <summary>What may and may not be done under ZeRO, and what is said.</summary>
public sealed class ZeroRuleTests
{
    [Fact]
    public void NoSync_InStageTwo_IsRefused() => With(1, 2, "", (engine, _, _) =>
    {
        var error = Assert.Throws<InvalidOperationException>(() => engine.NoSync());

        Assert.Contains("CoalesceGradReduction", error.Message, StringComparison.Ordinal);
        return 0;
    });

    // Two backwards of half a batch each, one reduction, against the batch at once.
    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    public void CoalesceGradReduction_TwoBackwards_EqualsOneOfTheSum(int stage)
    {
        float[][] coalesced = With(2, stage, "", (engine, model, loader) =>
        {
            (Tensor x, Tensor y) = loader.Next();
            using (engine.CoalesceGradReduction())
            {
                foreach (int row in (int[])[0, 1])
                {
                    using Tensor loss = engine.Forward(() => model.call(x.narrow(0, row, 1), y.narrow(0, row, 1)) / 2);
                    engine.Backward(loss);
                }
            }

            engine.Step();
            return model.Flat();
        });
        float[][] whole = With(2, stage, "", (engine, model, loader) =>
        {
            ZeroRun.Step(engine, model, loader);
            return model.Flat();
        });

        // Adam's first step is the learning rate in the direction of the sign, so compare where it is not at rounding's mercy.
        Vectors.Close(whole[0], coalesced[0], 1e-4, 1e-5);
        Assert.Equal(coalesced[0], coalesced[1]);
    }

    [Fact]
    public void NoSync_InStageOne_EqualsAccumulation()
    {
        float[][] explicitly = With(2, 1, "\"gradient_accumulation_steps\": 2,", (engine, model, loader) =>
        {
            using (engine.NoSync())
            {
                Backward(engine, model, loader);
            }

            engine.Step();
            Backward(engine, model, loader);
            engine.Step();
            return model.Flat();
        });
        float[][] counted = With(2, 1, "\"gradient_accumulation_steps\": 2,", (engine, model, loader) =>
        {
            ZeroRun.Step(engine, model, loader);
            ZeroRun.Step(engine, model, loader);
            return model.Flat();
        });

        Assert.Equal(counted, explicitly);
    }

    // A backward of the caller's own, and boundaries of the caller's own.
    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    public void Scale_BackwardOfTheCallersOwn_EqualsBackward(int stage)
    {
        float[][] own = With(2, stage, "", (engine, model, loader) =>
        {
            engine.SetGradientAccumulationBoundary(true);
            (Tensor x, Tensor y) = loader.Next();
            using Tensor loss = engine.Forward(() => model.call(x, y));
            using Tensor scaled = engine.Scale(loss);
            scaled.backward();
            engine.Step();
            return model.Flat();
        });
        float[][] usual = With(2, stage, "", (engine, model, loader) =>
        {
            ZeroRun.Step(engine, model, loader);
            return model.Flat();
        });

        Assert.Equal(usual, own);
    }

    [Theory]
    [InlineData(1, 1)]
    [InlineData(1, 2)]
    [InlineData(2, 1)]
    [InlineData(2, 2)]
    public void Backward_UnusedParameterThatIsNotIgnored_IsNamed(int stage, int ranks)
    {
        string[] messages = With(ranks, stage, "", (engine, model, loader) =>
        {
            model.UsesSecond = false;
            return Assert.Throws<InvalidOperationException>(() => Backward(engine, model, loader)).Message;
        }, ", \"ignore_unused_parameters\": false");

        Assert.All(messages, m => Assert.Contains("did not reach second.weight, second.bias", m, StringComparison.Ordinal));
    }

    // Rank 1 leaves a layer out: its gradients are zeros there, as in stage 0.
    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    public void Train_ParameterUnusedOnOneRank_EqualsStageZero(int stage)
    {
        float[][] Train(int s) => With(2, s, "", (engine, model, loader) =>
        {
            for (int i = 0; i < 3; i++)
            {
                model.UsesSecond = engine.GlobalRank == 0 || i == 2;
                ZeroRun.Step(engine, model, loader);
            }

            return model.Flat();
        });

        Assert.Equal(Train(0), Train(stage));
    }

    [Fact]
    public void Step_AfterABackwardTheEngineDoesNotKnowOf_IsRefusedInStageTwo() => With(1, 2, "", (engine, model, loader) =>
    {
        (Tensor x, Tensor y) = loader.Next();
        using Tensor loss = engine.Forward(() => model.call(x, y));
        loss.backward();

        Assert.Contains("engine.Backward(loss)", Assert.Throws<InvalidOperationException>(() => engine.Step()).Message, StringComparison.Ordinal);
        return 0;
    });

    // Weight of a layer that two checkpointed blocks share: its gradient comes in two parts.
    [Theory]
    [InlineData(100_000, true)]
    [InlineData(1, false)]
    public void Backward_GradientInParts_IsAddedUpOrRefusedWhenItWasSent(long bucketElements, bool fits)
    {
        Exception?[] errors = Ranks.Run(2, group =>
        {
            var first = nn.Linear(4, 4);
            var shared = nn.Linear(4, 4);
            var last = nn.Linear(4, 1);
            nn.Module<Tensor, Tensor> model = nn.Sequential(first, shared, last);
            DeepSpeedConfig config = DeepSpeedConfig.Parse($$"""
                {"train_micro_batch_size_per_gpu": 1, "zero_optimization": {"stage": 2, "reduce_bucket_size": {{bucketElements}} },
                 "optimizer": {"type": "AdamW", "params": {"lr": 0.01} } }
                """);
            (DeepSpeedEngine engine, _, _, _) = DeepSpeed.Initialize(model, config, group, CPU);
            using (engine)
            using (var scope = NewDisposeScope())
            {
                // In one bucket both parts are there before the first layer's gradient fills it.
                Tensor y = engine.Forward(() => last.call(ActivationCheckpoint.Checkpoint(h => shared.call(h).tanh(),
                    ActivationCheckpoint.Checkpoint(h => shared.call(h).tanh(), first.call(ones(2, 4))))).sum());
                return Record.Exception(() =>
                {
                    engine.Backward(y);
                    engine.Step();
                });
            }
        });

        Assert.All(errors, e => Assert.Equal(fits ? null : typeof(InvalidOperationException), e?.GetType()));
        Assert.All(errors.OfType<Exception>(), e => Assert.Contains("leave one of them out of checkpointing", e.Message, StringComparison.Ordinal));
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    public void ZeroGrad_AfterABackward_ForgetsIt(int stage)
    {
        float[][] forgot = With(2, stage, "", (engine, model, loader) =>
        {
            Backward(engine, model, loader);
            engine.ZeroGrad();
            ZeroRun.Step(engine, model, loader);
            return model.Flat();
        });
        float[][] never = With(2, stage, "", (engine, model, loader) =>
        {
            _ = loader.Next(); // the batch whose gradients are forgotten
            ZeroRun.Step(engine, model, loader);
            return model.Flat();
        });

        Assert.Equal(never, forgot);
    }

    [Theory]
    [InlineData(1, "")]
    [InlineData(2, "")]
    [InlineData(2, "\"bf16\": {\"enabled\": true},")]
    public void LoadModuleStateDict_AnyStage_SetsWeightsAndMasters(int stage, string rest)
    {
        float[][] found = With(3, stage, rest, (engine, model, loader) =>
        {
            Dictionary<string, Tensor> values = engine.ModuleStateDict().ToDictionary(p => p.Key, p => p.Value.to(float32) * 0 + 0.25);
            engine.LoadModuleStateDict(values);
            Assert.All(model.Flat(), v => Assert.Equal(0.25f, v));
            ZeroRun.Step(engine, model, loader);
            return model.Flat();
        });

        Assert.All(found, values => Assert.Equal(found[0], values));
        Assert.All(found[0], v => Assert.InRange(v, 0.2f, 0.3f)); // one small step from there, whoever owns it
    }

    [Fact]
    public void Initialize_RanksWithDifferentStartingWeights_AllTakeThoseOfRankZero()
    {
        foreach (string precision in (string[])["", "\"bf16\": {\"enabled\": true},"])
        {
            string folder = Directory.CreateTempSubdirectory("zero-start-").FullName;
            try
            {
                ZeroStart(precision, folder);
            }
            finally
            {
                Directory.Delete(folder, recursive: true);
            }
        }

        static void ZeroStart(string precision, string folder)
        {
            Ranks.Run(3, group =>
            {
                var model = new OddModel();
                using (no_grad())
                {
                    model.parameters().First().add_(group.Rank);
                }

                (DeepSpeedEngine engine, _, _, _) = DeepSpeed.Initialize(model, Config(2, precision, ""), group, CPU);
                using (engine)
                {
                    engine.SaveCheckpoint(folder, "start");
                }
            });
            Assert.Equal(new OddModel().first.weight!.data<float>().ToArray(), SavedCheckpoint.Values(Path.Combine(folder, "start"))["first.weight"]);
        }
    }

    [Fact]
    public void Initialize_OptimizerOfTheCallersOwn_IsRefused()
    {
        var error = Assert.Throws<ConfigException>(() => Ranks.Run(1, group =>
        {
            var model = new OddModel();
            DeepSpeed.Initialize(model, Config(1, "", ""), group, CPU, optimizer: optim.SGD(model.parameters(), 0.1)).Engine.Dispose();
        }));

        Assert.Contains("works on whole parameters", error.Message, StringComparison.Ordinal);
    }

    private static void Backward(DeepSpeedEngine engine, OddModel model, DataLoader<(Tensor X, Tensor Y)> loader)
    {
        (Tensor x, Tensor y) = loader.Next();
        using Tensor loss = engine.Forward(() => model.call(x, y));
        engine.Backward(loss);
    }

    private static DeepSpeedConfig Config(int stage, string rest, string zero) => DeepSpeedConfig.Parse($$"""
        {"train_micro_batch_size_per_gpu": 2, "gradient_clipping": 0, {{rest}} "zero_optimization": {"stage": {{stage}}, "reduce_bucket_size": 700 {{zero}} },
         "optimizer": {"type": "AdamW", "params": {"lr": 0.01} } }
        """);

    private static T[] With<T>(int ranks, int stage, string rest,
        Func<DeepSpeedEngine, OddModel, DataLoader<(Tensor X, Tensor Y)>, T> use, string zero = "") => Ranks.Run(ranks, (ProcessGroup group) =>
    {
        var model = new OddModel();
        (DeepSpeedEngine engine, _, DataLoader<(Tensor X, Tensor Y)>? loader, _) =
            DeepSpeed.Initialize(model, Config(stage, rest, zero), new OddData(), group, CPU, printsProgress: false);
        using (engine)
        {
            return use(engine, model, loader!);
        }
    });
}

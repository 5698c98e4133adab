using System.Text.Json;
using DeepSpeedSharp.Config;
using DeepSpeedSharp.Engine.Comm;
using DeepSpeedSharp.Engine.Data;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine.Tests;

public sealed class EngineTests
{
    public static TheoryData<string, int, int, int, int> Layouts()
    {
        var data = new TheoryData<string, int, int, int, int>();
        JsonElement file = Vectors.Read("toy_training.json");
        foreach (JsonElement c in file.GetProperty("cases").EnumerateArray())
        {
            foreach (JsonElement layout in file.GetProperty("layouts_that_must_agree").EnumerateArray())
            {
                foreach (int stage in file.GetProperty("zero_stages_that_must_agree").EnumerateArray().Select(s => s.GetInt32()).Where(s => s < 3))
                {
                    data.Add(c.GetProperty("name").GetString()!, layout.GetProperty("dp").GetInt32(),
                        layout.GetProperty("micro").GetInt32(), layout.GetProperty("gas").GetInt32(), stage);
                }
            }
        }

        return data;
    }

    [Theory]
    [MemberData(nameof(Layouts))]
    public void Train_AnyLayoutAndZeroStage_GivesTheReferenceParameters(string name, int ranks, int micro, int steps, int stage)
    {
        JsonElement c = Vectors.Read("toy_training.json").GetProperty("cases").EnumerateArray().Single(x => x.GetProperty("name").GetString() == name);
        DeepSpeedConfig config = Config(c, micro, steps, stage);

        (List<StepMetrics> Metrics, List<float[]> Parameters)[] runs = Ranks.Run(ranks, group => Train(config, group, c.GetProperty("rows").GetArrayLength()));

        foreach ((List<StepMetrics> metrics, List<float[]> parameters) in runs)
        {
            foreach (JsonElement row in c.GetProperty("rows").EnumerateArray())
            {
                int i = row.GetProperty("step").GetInt32() - 1;
                Assert.Equal(row.GetProperty("loss_before").GetDouble(), metrics[i].Loss, 1e-5);
                if (row.TryGetProperty("grad_norm_unclipped", out JsonElement norm))
                {
                    Assert.Equal(norm.GetDouble(), metrics[i].GradientNorm!.Value, 2e-5);
                }

                if (row.GetProperty("params_after").ValueKind == JsonValueKind.Null)
                {
                    continue; // the file has parameters for some steps only
                }

                Vectors.Close([.. row.GetProperty("params_after").EnumerateArray().Select(v => v.GetSingle())], parameters[i], 1e-5, 2e-6);
            }
        }
    }

    [Fact]
    public void Initialize_RanksWithDifferentStartingWeights_AllTakeThoseOfRankZero()
    {
        float[][] parameters = Ranks.Run(3, group =>
        {
            var model = new ToyModel();
            using (no_grad())
            {
                model.parameters().First().add_(group.Rank);
            }

            (DeepSpeedEngine engine, _, _, _) = DeepSpeed.Initialize(model, Simple(), group, CPU);
            using (engine)
            {
                return model.Flat();
            }
        });

        Assert.Equal(new ToyModel().Flat(), parameters[0]);
        Assert.All(parameters, p => Assert.Equal(parameters[0], p));
    }

    [Fact]
    public void Initialize_RanksWithDifferentModels_NamesTheRank()
    {
        var error = Assert.Throws<InvalidOperationException>(() => Ranks.Run(2, group =>
        {
            nn.Module model = group.Rank == 0 ? nn.Linear(2, 3) : nn.Linear(2, 4);
            DeepSpeed.Initialize(model, Simple(), group, CPU).Engine.Dispose();
        }));

        Assert.Contains("rank 1 has another model than rank 0", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Initialize_TiedWeights_StayTied()
    {
        Ranks.Run(1, group =>
        {
            var model = new Tied();
            (DeepSpeedEngine engine, _, _, _) = DeepSpeed.Initialize(model, Simple(), group, CPU);
            using (engine)
            {
                Assert.Equal(6, engine.ParameterCount);
                Assert.True(allclose(model.a.weight!, model.b.weight!));
                Assert.Equal(model.a.weight!.Handle, model.b.weight!.Handle);
            }
        });
    }

    [Fact]
    public void Initialize_ModelWithoutParameters_SaysWhatIsMissing()
    {
        var error = Assert.Throws<ArgumentException>(() => Ranks.Run(1, group =>
            DeepSpeed.Initialize(nn.ReLU(), Simple(), group, CPU).Engine.Dispose()));

        Assert.Contains("RegisterComponents", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void RequestStop_OnOneRank_IsSeenByAllInTheSameStep()
    {
        List<bool>[] seen = Ranks.Run(3, group =>
        {
            var model = new ToyModel();
            (DeepSpeedEngine engine, _, DataLoader<(Tensor X, Tensor Y)>? loader, _) = DeepSpeed.Initialize(model, Simple(), new ToyData(), group, CPU);
            using (engine)
            {
                var stops = new List<bool> { Step(engine, model, loader!)!.StopRequested };
                if (group.Rank == 2)
                {
                    engine.RequestStop();
                }

                stops.Add(Step(engine, model, loader!)!.StopRequested);
                return stops;
            }
        });

        Assert.All(seen, stops => Assert.Equal([false, true], stops));
    }

    [Fact]
    public void Backward_AfterZeroGradOfTheModel_SaysThatNothingWouldBeTrained()
    {
        var error = Assert.Throws<InvalidOperationException>(() => Ranks.Run(1, group =>
        {
            var model = new ToyModel();
            (DeepSpeedEngine engine, _, DataLoader<(Tensor X, Tensor Y)>? loader, _) = DeepSpeed.Initialize(model, Simple(), new ToyData(), group, CPU);
            using (engine)
            {
                model.zero_grad();
                Step(engine, model, loader!);
            }
        }));

        Assert.Contains("zero_grad()", error.Message, StringComparison.Ordinal);
    }

    private static (List<StepMetrics>, List<float[]>) Train(DeepSpeedConfig config, ProcessGroup group, int steps)
    {
        var model = new ToyModel();
        (DeepSpeedEngine engine, _, DataLoader<(Tensor X, Tensor Y)>? loader, _) = DeepSpeed.Initialize(model, config, new ToyData(), group, CPU);
        using (engine)
        {
            (List<StepMetrics> metrics, List<float[]> parameters) = ([], []);
            while (metrics.Count < steps)
            {
                if (Step(engine, model, loader!) is { } step)
                {
                    metrics.Add(step);
                    parameters.Add(model.Flat());
                }
            }

            return (metrics, parameters);
        }
    }

    private static StepMetrics? Step(DeepSpeedEngine engine, ToyModel model, DataLoader<(Tensor X, Tensor Y)> loader)
    {
        (Tensor x, Tensor y) = loader.Next();
        using (x)
        using (y)
        using (Tensor loss = engine.Forward(() => model.call(x, y)))
        {
            engine.Backward(loss);
            return engine.Step()?.Metrics;
        }
    }

    internal static DeepSpeedConfig Simple() => DeepSpeedConfig.Parse(
        """{"train_micro_batch_size_per_gpu": 1, "optimizer": {"type": "AdamW", "params": {"lr": 0.01}}}""");

    private static DeepSpeedConfig Config(JsonElement c, int micro, int steps, int stage)
    {
        JsonElement o = c.GetProperty("optimizer");
        string parameters = string.Join(", ", o.EnumerateObject().Where(p => p.Name != "type").Select(p => $"\"{p.Name}\": {p.Value.GetRawText()}"));
        return DeepSpeedConfig.Parse($$"""
            {"train_micro_batch_size_per_gpu": {{micro}}, "gradient_accumulation_steps": {{steps}},
             "gradient_clipping": {{c.GetProperty("gradient_clipping").GetRawText()}},
             "zero_optimization": {"stage": {{stage}}, "reduce_bucket_size": 12, "allgather_bucket_size": 10},
             "optimizer": {"type": "{{o.GetProperty("type").GetString()}}", "params": { {{parameters}} } } }
            """);
    }

    private sealed class Tied : nn.Module<Tensor, Tensor>
    {
        internal readonly TorchSharp.Modules.Linear a = nn.Linear(2, 3, hasBias: false);
        internal readonly TorchSharp.Modules.Linear b = nn.Linear(2, 3, hasBias: false);

        public Tied()
            : base(nameof(Tied))
        {
            b.weight = a.weight;
            RegisterComponents();
        }

        public override Tensor forward(Tensor x) => a.call(x) + b.call(x);
    }
}

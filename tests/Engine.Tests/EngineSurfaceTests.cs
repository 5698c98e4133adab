using System.Text.Json.Nodes;
using DeepSpeedSharp.Config;
using DeepSpeedSharp.Engine.Comm;
using DeepSpeedSharp.Engine.Optim;
using TorchSharp;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine.Tests;

/// <summary>The calls between the three: accumulation, no_sync, batch sizes, state dictionaries, the caller's own parts.</summary>
public sealed class EngineSurfaceTests
{
    // Two ranks, two micro batches each, with every way to say when ranks sum their gradients.
    [Theory]
    [InlineData("counted")]
    [InlineData("no_sync")]
    [InlineData("coalesced")]
    [InlineData("unmanaged")]
    [InlineData("boundary by hand")]
    [InlineData("backward by hand")]
    public void Step_AnyWayOfAccumulating_GivesTheSameParameters(string way)
    {
        float[][] expected = Ranks.Run(2, group => TwoMicroBatches("counted", group));

        float[][] actual = Ranks.Run(2, group => TwoMicroBatches(way, group));

        Assert.Equal(actual[0], actual[1]);
        Vectors.Close(expected[0], actual[0], 1e-6, 1e-7);
        Assert.NotEqual(new ToyModel().Flat(), actual[0]);
    }

    [Fact]
    public void Backward_TwiceInTheMicroBatchThatReduces_SaysWhatToDo()
    {
        var error = Assert.Throws<InvalidOperationException>(() => Ranks.Run(2, group =>
        {
            using Run run = Run.Start(group, """{"train_micro_batch_size_per_gpu": 1}""");
            run.Backward();
            run.Backward();
        }));

        Assert.Contains("CoalesceGradReduction", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Step_InsideNoSync_IsRefused() => Ranks.Run(1, group =>
    {
        using Run run = Run.Start(group, """{"train_micro_batch_size_per_gpu": 1}""");
        using (run.Engine.NoSync())
        {
            run.Backward();
            Assert.Contains("NoSync", Assert.Throws<InvalidOperationException>(() => run.Engine.Step()).Message, StringComparison.Ordinal);
            Assert.Throws<InvalidOperationException>(() => run.Engine.NoSync());
        }

        Assert.NotNull(run.Engine.Step());
    });

    [Fact]
    public void Backward_LossWithoutGradient_SaysWhy() => Ranks.Run(1, group =>
    {
        using Run run = Run.Start(group, """{"train_micro_batch_size_per_gpu": 1}""");
        using Tensor loss = ones([]);

        Assert.Contains("no_grad()", Assert.Throws<ArgumentException>(() => run.Engine.Backward(loss)).Message, StringComparison.Ordinal);
    });

    [Fact]
    public void Backward_LossOfOneElementInAnyShape_IsReported() => Ranks.Run(1, group =>
    {
        using Run run = Run.Start(group, """{"train_micro_batch_size_per_gpu": 1}""");
        using Tensor loss = run.Loss();
        using Tensor square = loss.view(1, 1);
        run.Engine.Backward(square);

        Assert.Equal(loss.ToDouble(), run.Engine.Step()!.Metrics.Loss, 1e-6);
    });

    [Fact]
    public void NoSync_InsideCoalesceGradReduction_NamesIt() => Ranks.Run(1, group =>
    {
        using Run run = Run.Start(group, """{"train_micro_batch_size_per_gpu": 1}""");
        using (run.Engine.CoalesceGradReduction())
        {
            run.Backward();
            Assert.Contains("inside CoalesceGradReduction()", Assert.Throws<InvalidOperationException>(() => run.Engine.NoSync()).Message, StringComparison.Ordinal);
        }

        Assert.NotNull(run.Engine.Step());
    });

    [Fact]
    public void SetTrainBatchSize_BetweenSteps_ChangesTheAccumulation() => Ranks.Run(2, group =>
    {
        using Run run = Run.Start(group, """{"train_micro_batch_size_per_gpu": 1, "gradient_accumulation_steps": 4}""");
        run.Steps(1);

        run.Engine.SetTrainBatchSize(6);

        Assert.Equal((6, 1, 3), run.Engine.GetBatchInfo());
        Assert.Contains("multiple", Assert.Throws<ArgumentException>(() => run.Engine.SetTrainBatchSize(7)).Message, StringComparison.Ordinal);
        long before = run.Engine.MicroSteps;
        run.Steps(1);
        Assert.Equal(before + 3, run.Engine.MicroSteps);
        Assert.Equal(8 + 6, run.Engine.GlobalSamples);
        run.Engine.SetTrainMicroBatchSize(2);
        Assert.Equal((12, 2, 3), run.Engine.GetBatchInfo());
        run.Backward();
        run.Engine.Step();
        Assert.Throws<InvalidOperationException>(() => run.Engine.SetTrainBatchSize(4));
    });

    [Fact]
    public void LoadModuleStateDict_ValuesOfAnotherEngine_ComputesTheSame() => Ranks.Run(1, group =>
    {
        using Run first = Run.Start(group, """{"train_micro_batch_size_per_gpu": 1, "bf16": {"enabled": true}}""");
        first.Steps(3);
        using Run second = Run.Start(group, """{"train_micro_batch_size_per_gpu": 1, "bf16": {"enabled": true}}""");
        using var scope = NewDisposeScope();
        IReadOnlyDictionary<string, Tensor> state = first.Engine.ModuleStateDict();

        second.Engine.LoadModuleStateDict(state);

        Assert.All(second.Engine.ModuleStateDict(), pair => Assert.True(pair.Value.eq(state[pair.Key]).all().ToBoolean()));
        var partial = state.Skip(1).Append(new("other", zeros(1))).ToDictionary();
        string message = Assert.Throws<ArgumentException>(() => second.Engine.LoadModuleStateDict(partial)).Message;
        Assert.Contains("first.weight is missing", message, StringComparison.Ordinal);
        Assert.Contains("other is not in the model", message, StringComparison.Ordinal);
        second.Engine.LoadModuleStateDict(partial, strict: false);
    });

    [Fact]
    public void Save16BitModel_Bf16_IsTheWeightsAlone() => Ranks.Run(1, group =>
    {
        using Run run = Run.Start(group, """{"train_micro_batch_size_per_gpu": 1, "bf16": {"enabled": true}}""");
        run.Steps(2);
        string folder = Directory.CreateTempSubdirectory("dss-").FullName;
        try
        {
            string path = run.Engine.Save16BitModel(folder);

            using var reader = new Checkpoint.SafetensorsReader(path);
            using Tensor saved = reader.Read("second.weight");
            Assert.Equal(bfloat16, saved.dtype);
            Assert.True(saved.eq(run.Engine.ModuleStateDict()["second.weight"]).all().ToBoolean());
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    });

    [Fact]
    public void Initialize_GroupsOfParameters_AreTrainedWithTheirOwnNumbers() => Ranks.Run(1, group =>
    {
        var model = new ToyModel();
        (DeepSpeedEngine engine, FlatOptimizer optimizer, _, _) = DeepSpeed.Initialize(model, Run.Config("""{"train_micro_batch_size_per_gpu": 1}"""),
            group, CPU, modelParameters:
            [
                new ParameterGroupOptions { Name = "frozen in effect", Includes = name => name.EndsWith("bias", StringComparison.Ordinal), LearningRate = 0 },
                new ParameterGroupOptions { Includes = name => name.EndsWith("weight", StringComparison.Ordinal) },
            ]);
        using (engine)
        {
            float[] before = model.Flat();
            using var run = new Run(engine, model);

            run.Steps(2);

            float[] after = model.Flat();
            Assert.Equal([0, 0.01], engine.GetLr());
            Assert.Equal(["first.bias", "second.bias"], optimizer.ParameterGroups[0].ParameterNames);
            Assert.Equal(before[15..20], after[15..20]); // first.bias
            Assert.NotEqual(before[..15], after[..15]);
        }
    });

    [Theory]
    [InlineData(false, "fp32")]
    [InlineData(true, "fp32")]
    [InlineData(true, "bf16")]
    public void Initialize_OptimizerOfTheCaller_TrainsAsTheConfigs(bool factory, string precision)
    {
        string settings = precision == "fp32" ? """{"train_micro_batch_size_per_gpu": 1}"""
            : """{"train_micro_batch_size_per_gpu": 1, "bf16": {"enabled": true}, "data_types": {"grad_accum_dtype": "fp32"}}""";
        float[] expected = Ranks.Run(2, group =>
        {
            using Run run = Run.Start(group, settings);
            run.Steps(5);
            return run.Masters();
        })[0];

        float[] actual = Ranks.Run(2, group =>
        {
            var model = new ToyModel();
            using optim.Optimizer? own = factory ? null : optim.AdamW(model.parameters(), 0.01, weight_decay: 0);
            (DeepSpeedEngine engine, _, _, _) = DeepSpeed.Initialize(model, Run.Config(settings, optimizer: false), group, CPU, optimizer: own,
                optimizerFactory: factory ? parameters => optim.AdamW(parameters, 0.01, weight_decay: 0) : null);
            using var run = new Run(engine, model);
            run.Steps(5);
            return run.Masters();
        })[0];

        Vectors.Close(expected, actual, 1e-5, 1e-6);
    }

    [Fact]
    public void Initialize_NoOptimizerAnywhere_SaysSo()
    {
        var error = Assert.Throws<ConfigException>(() => Ranks.Run(1, group =>
            DeepSpeed.Initialize(new ToyModel(), Run.Config("""{"train_micro_batch_size_per_gpu": 1}""", optimizer: false), group, CPU).Engine.Dispose()));

        Assert.Contains("optimizer", error.Message, StringComparison.Ordinal);
    }

    private static float[] TwoMicroBatches(string way, ProcessGroup group)
    {
        using Run run = Run.Start(group, way == "unmanaged"
            ? """{"train_micro_batch_size_per_gpu": 1, "gradient_accumulation_steps": 2, "managed_gradient_accumulation": false}"""
            : """{"train_micro_batch_size_per_gpu": 1, "gradient_accumulation_steps": 2}""");
        DeepSpeedEngine engine = run.Engine;
        for (int step = 0; step < 3; step++)
        {
            switch (way)
            {
                case "no_sync":
                    using (engine.NoSync())
                    {
                        run.Backward();
                    }

                    Assert.Null(engine.Step());
                    run.Backward();
                    Assert.NotNull(engine.Step());
                    break;
                case "coalesced":
                    run.Backward();
                    Assert.Null(engine.Step());
                    using (engine.CoalesceGradReduction())
                    {
                        run.Backward();
                    }

                    Assert.NotNull(engine.Step());
                    break;
                case "unmanaged":
                    run.Backward();
                    run.Backward();
                    Assert.NotNull(engine.Step());
                    break;
                case "boundary by hand":
                    engine.SetGradientAccumulationBoundary(false);
                    run.Backward();
                    Assert.Null(engine.Step());
                    engine.SetGradientAccumulationBoundary(true);
                    run.Backward();
                    Assert.NotNull(engine.Step());
                    break;
                case "backward by hand":
                    for (int i = 0; i < 2; i++)
                    {
                        using Tensor loss = run.Loss();
                        using Tensor scaled = engine.Scale(loss);
                        scaled.backward();
                        Assert.Equal(i == 1, engine.Step() is not null);
                    }

                    break;
                default:
                    run.Steps(1);
                    break;
            }
        }

        return run.Model.Flat();
    }
}

/// <summary>A toy model under an engine; each rank reads samples of its own.</summary>
internal sealed class Run(DeepSpeedEngine engine, ToyModel model) : IDisposable
{
    private readonly ToyData _data = new();
    private long _next = engine.GlobalRank;

    public DeepSpeedEngine Engine => engine;

    public ToyModel Model => model;

    public static DeepSpeedConfig Config(string settings, bool optimizer = true)
    {
        JsonObject config = JsonNode.Parse(settings)!.AsObject();
        if (optimizer)
        {
            config["optimizer"] ??= JsonNode.Parse("""{"type": "AdamW", "params": {"lr": 0.01}}""");
        }

        return DeepSpeedConfig.Parse(config.ToJsonString());
    }

    public static Run Start(ProcessGroup group, string settings)
    {
        var model = new ToyModel();
        return new Run(DeepSpeed.Initialize(model, Config(settings), group, CPU, printsProgress: false).Engine, model);
    }

    public Tensor Loss()
    {
        (Tensor x, Tensor y) = _data.Batch([_next % _data.Count]);
        _next += engine.WorldSize;
        using (x)
        using (y)
        {
            ScalarType type = model.parameters().First().dtype;
            Device device = model.parameters().First().device;
            using Tensor input = x.to(type, device);
            using Tensor target = y.to(type, device);
            return engine.Forward(() => model.call(input, target));
        }
    }

    /// <summary>Goes past the samples of micro batches that another run has read.</summary>
    public void Skip(int microBatches) => _next += microBatches * engine.WorldSize;

    public void Backward()
    {
        using Tensor loss = Loss();
        engine.Backward(loss);
    }

    public List<StepMetrics> Steps(int count)
    {
        var metrics = new List<StepMetrics>();
        while (metrics.Count < count)
        {
            Backward();
            if (engine.Step() is { } step)
            {
                metrics.Add(step.Metrics);
            }
        }

        return metrics;
    }

    /// <summary>The fp32 parameters that the optimizer updates.</summary>
    public float[] Masters()
    {
        string own = engine.GlobalRank == 0 ? Directory.CreateTempSubdirectory("dss-").FullName : "";
        string folder = engine.Group.AllGather(own)[0];
        try
        {
            return [.. CheckpointManifest.Read(engine.SaveCheckpoint(folder)).Model.SelectMany(t => SavedCheckpoint.Values(Path.Combine(folder, $"global_step{engine.GlobalSteps}"))[t.Name])];
        }
        finally
        {
            engine.Group.Barrier("read");
            if (own.Length > 0)
            {
                Directory.Delete(own, recursive: true);
            }
        }
    }

    public void Dispose() => engine.Dispose();
}

using System.Text.Json.Nodes;
using DeepSpeedSharp.Config;
using DeepSpeedSharp.Engine.Comm;
using DeepSpeedSharp.Engine.Data;
using DeepSpeedSharp.Engine.Optim;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine.Tests.Zero;

/// <summary>Three layers of odd sizes, so that shards cut through parameters and one bucket has several owners.</summary>
internal sealed class OddModel : nn.Module<Tensor, Tensor, Tensor>
{
    internal readonly TorchSharp.Modules.Linear first = nn.Linear(3, 37);
    internal readonly TorchSharp.Modules.Linear second = nn.Linear(37, 29);
    internal readonly TorchSharp.Modules.Linear third = nn.Linear(29, 3);

    public OddModel()
        : base(nameof(OddModel))
    {
        RegisterComponents();
        using IDisposable noGrad = no_grad();
        int seed = 0;
        foreach (TorchSharp.Modules.Parameter parameter in parameters())
        {
            // Not the generator of libtorch, which all ranks of a test share.
            var random = new Random(++seed);
            using Tensor values = tensor([.. Enumerable.Range(0, (int)parameter.numel()).Select(_ => (float)(random.NextDouble() - 0.5))], parameter.shape);
            parameter.copy_(values);
        }
    }

    /// <summary>Leaves out the layer in the middle's weight when false.</summary>
    public bool UsesSecond { get; set; } = true;

    public override Tensor forward(Tensor x, Tensor y)
    {
        Tensor hidden = first.call(x).tanh();
        hidden = UsesSecond ? second.call(hidden).tanh() : hidden.narrow(1, 0, 29);
        return nn.functional.mse_loss(third.call(hidden), y.to(x.dtype));
    }

    public float[] Flat()
    {
        using IDisposable whole = DeepSpeed.Zero.GatheredParameters(parameters());
        return [.. parameters().SelectMany(p =>
        {
            using Tensor wide = p.to(float32);
            return wide.data<float>().ToArray();
        })];
    }
}

/// <summary>24 samples, which 1, 2, 3 and 4 ranks share evenly.</summary>
internal sealed class OddData : ITrainingData<(Tensor X, Tensor Y)>
{
    public long Count => 24;

    public (Tensor X, Tensor Y) Batch(IReadOnlyList<long> indices) => (Rows(indices, 0), Rows(indices, 100));

    private static Tensor Rows(IReadOnlyList<long> indices, int seed) => tensor([.. indices.SelectMany(i =>
    {
        var random = new Random(seed + (int)i);
        return Enumerable.Range(0, 3).Select(_ => (float)(random.NextDouble() * 2 - 1));
    })], [indices.Count, 3]);
}

/// <summary>What a training run left.</summary>
internal sealed record ZeroRun(float[] Parameters, IReadOnlyList<StepMetrics> Metrics, JsonObject? ClientState)
{
    /// <summary>Trains a few steps on the toy data.</summary>
    /// <param name="group">The ranks.</param>
    /// <param name="zero">The zero_optimization section.</param>
    /// <param name="steps">Optimizer steps.</param>
    /// <param name="rest">Further keys of the config, each followed by a comma.</param>
    /// <param name="load">Folder to load from before.</param>
    /// <param name="save">Folder to save to afterwards.</param>
    /// <param name="groups">Parameter groups.</param>
    public static ZeroRun Train(ProcessGroup group, string zero, int steps, string rest = "", string? load = null, string? save = null,
        IReadOnlyList<ParameterGroupOptions>? groups = null)
    {
        string batch = rest.Contains("train_batch_size", StringComparison.Ordinal) ? "" : "\"train_micro_batch_size_per_gpu\": 2,";
        string optimizer = rest.Contains("\"optimizer\"", StringComparison.Ordinal) ? ""
            : """ "optimizer": {"type": "AdamW", "params": {"lr": 0.01, "weight_decay": 0.1}}, """;
        // Clipping is on by default, and then every bit depends on the rounding of the norm.
        string clipping = rest.Contains("gradient_clipping", StringComparison.Ordinal) ? "" : "\"gradient_clipping\": 0,";
        DeepSpeedConfig config = DeepSpeedConfig.Parse($$"""{ {{batch}} {{clipping}} {{optimizer}} {{rest}} "zero_optimization": {{zero}} }""");
        var model = new OddModel();
        (DeepSpeedEngine engine, _, DataLoader<(Tensor X, Tensor Y)>? loader, _) =
            DeepSpeed.Initialize(model, config, new OddData(), group, CPU, modelParameters: groups, printsProgress: false);
        using (engine)
        {
            JsonObject? state = load is null ? null : engine.LoadCheckpoint(load).ClientState;
            var metrics = new List<StepMetrics>();
            while (metrics.Count < steps)
            {
                if (Step(engine, model, loader!) is { } step)
                {
                    metrics.Add(step);
                }
            }

            _ = save is null ? null : engine.SaveCheckpoint(save, clientState: new JsonObject { ["note"] = "mine" });
            return new ZeroRun(model.Flat(), metrics, state);
        }
    }

    public static StepMetrics? Step(DeepSpeedEngine engine, OddModel model, DataLoader<(Tensor X, Tensor Y)> loader)
    {
        (Tensor x, Tensor y) = loader.Next();
        using (x)
        using (y)
        using (Tensor input = x.to(model.first.weight!.dtype))
        using (Tensor loss = engine.Forward(() => model.call(input, y)))
        {
            engine.Backward(loss);
            return engine.Step()?.Metrics;
        }
    }
}

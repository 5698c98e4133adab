using DeepSpeedSharp.Config;
using DeepSpeedSharp.Engine.Optim;
using DeepSpeedSharp.Engine.Precision;
using DeepSpeedSharp.Worker.Gpt2;
using TorchSharp;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine.Benchmarks;

/// <summary>The model and the one batch that all loops train on, equal in each.</summary>
internal sealed class StepModel : IDisposable
{
    public const int Batch = 2;
    private const int Length = 64;

    private static readonly Gpt2Config Shape = new()
    {
        VocabSize = 2048,
        Positions = Length,
        Embedding = 192,
        Layers = 4,
        Heads = 4,
        AttentionDropout = 0,
        EmbeddingDropout = 0,
        ResidualDropout = 0,
    };

    private readonly Tensor _tokens;
    private readonly Tensor _targets;

    public StepModel()
    {
        manual_seed(1);
        Module = new Gpt2Model(Shape);
        Module.train();
        (_tokens, _targets) = (randint(Shape.VocabSize, [Batch, Length]), randint(Shape.VocabSize, [Batch, Length]));
    }

    public static double ClipNorm => 1;

    public static AdamParams Adam { get; } = new() { LearningRate = 1e-4, WeightDecay = 0.01 };

    public static string Description =>
        $"GPT-2 of {Shape.Layers} layers and width {Shape.Embedding}, batch {Batch} x {Length}";

    public Gpt2Model Module { get; }

    public Tensor Loss() => Module.call(_tokens, _targets);

    public void Dispose()
    {
        _tokens.Dispose();
        _targets.Dispose();
        Module.Dispose();
    }
}

/// <summary>The engine's three calls.</summary>
internal sealed class EngineLoop : IDisposable
{
    private readonly StepModel _model = new();
    private readonly DeepSpeedEngine _engine;

    public EngineLoop() => _engine = DeepSpeed.Initialize(_model.Module, DeepSpeedConfig.Parse($$"""
        { "train_micro_batch_size_per_gpu": {{StepModel.Batch}}, "gradient_clipping": {{StepModel.ClipNorm}},
          "optimizer": { "type": "AdamW", "params": { "lr": {{StepModel.Adam.LearningRate}}, "weight_decay": {{StepModel.Adam.WeightDecay}} } } }
        """), device: CPU).Engine;

    public float Step()
    {
        using Tensor loss = _engine.Forward(_model.Loss);
        _engine.Backward(loss);
        StepMetrics metrics = _engine.Step()!.Metrics;
        return metrics.GradientNorm > 0 ? (float)metrics.Loss : float.NaN;
    }

    public void Dispose()
    {
        _engine.Dispose();
        _engine.Group.Dispose();
        _model.Dispose();
    }
}

/// <summary>The least that trains the model with the engine's kernel.</summary>
internal sealed class BareLoop : IDisposable
{
    private readonly StepModel _model = new();
    private readonly FlatParameters _flat;
    private readonly CpuAdam _adam;

    public BareLoop()
    {
        _flat = new FlatParameters(_model.Module, CPU, PrecisionPlan.From(new DeepSpeedConfig()),
            parameters => [new GroupSpec("all", StepModel.Adam, [.. parameters.Select(p => p.Name)])]);
        _adam = new CpuAdam("AdamW", _flat.Groups, _flat.Weights.numel());
    }

    public float Step()
    {
        using DisposeScope scope = NewDisposeScope();
        Tensor loss = _model.Loss();
        loss.backward();
        using IDisposable noGrad = no_grad();
        float norm = _flat.Gradients.norm().ToSingle();
        Tensor divisor = tensor((float)Math.Max(1, norm / StepModel.ClipNorm));
        _adam.Step(_flat.Weights, _flat.Gradients, new StepScale(divisor, null), null);
        _flat.Gradients.zero_().DetachFromDisposeScope();
        return norm > 0 ? loss.ToSingle() : float.NaN;
    }

    public void Dispose()
    {
        _adam.Dispose();
        _flat.Dispose();
        _model.Dispose();
    }
}

/// <summary>TorchSharp's optimizer and clipping, tensor by tensor.</summary>
internal sealed class PerTensorLoop : IDisposable
{
    private readonly StepModel _model = new();
    private readonly TorchSharp.Modules.AdamW _adam;

    public PerTensorLoop() =>
        _adam = optim.AdamW(_model.Module.parameters(), StepModel.Adam.LearningRate, weight_decay: StepModel.Adam.WeightDecay);

    public float Step()
    {
        using DisposeScope scope = NewDisposeScope();
        _adam.zero_grad();
        Tensor loss = _model.Loss();
        loss.backward();
        double norm = nn.utils.clip_grad_norm_(_model.Module.parameters(), StepModel.ClipNorm);
        _adam.step();
        return norm > 0 ? loss.ToSingle() : float.NaN;
    }

    public void Dispose()
    {
        _adam.Dispose();
        _model.Dispose();
    }
}

using DeepSpeedSharp.Config;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine.Optim;

/// <summary>Stands for the numbers of an optimizer that the caller made.</summary>
internal sealed record ClientParams : OptimizerParams;

/// <summary>A TorchSharp optimizer under the engine's loss scaling, clipping and averaging.</summary>
/// <remarks>
/// It works on leaves: the model's own parameters, or fp32 copies whose gradients are views of a flat buffer. Its state
/// is its own and in a format of its own, so checkpoints keep the parameters but not the optimizer's state.
/// </remarks>
internal sealed class ClientOptimizer : FlatOptimizer
{
    private readonly optim.Optimizer _optimizer;
    private readonly TorchSharp.Modules.Parameter[] _masters = [];
    private readonly Tensor? _wideGradients; // [n] fp32, where the engine's gradients are not

    private double _rate; // what both sides last agreed on

    private ClientOptimizer(IReadOnlyList<ParameterGroup> groups, FlatParameters parameters, optim.Optimizer optimizer)
        : base(groups, parameters.Masters.numel(), parameters.Masters.device)
    {
        _optimizer = optimizer;
        ReadRates();
    }

    private ClientOptimizer(FlatParameters parameters, Func<IEnumerable<TorchSharp.Modules.Parameter>, optim.Optimizer> factory)
        : base(parameters.Groups, parameters.Masters.numel(), parameters.Masters.device)
    {
        _wideGradients = parameters.Gradients.dtype == float32 ? null : zeros_like(parameters.Masters).DetachFromDisposeScope();
        Tensor gradients = _wideGradients ?? parameters.Gradients;
        using (no_grad())
        {
            _masters = [.. parameters.Slots.Select(slot =>
            {
                Tensor view = FlatParameters.View(parameters.Masters, slot);
                var leaf = new TorchSharp.Modules.Parameter(view.DetachFromDisposeScope());
                using Tensor gradient = FlatParameters.View(gradients, slot);
                leaf.grad = gradient;
                return leaf;
            })];
        }

        _optimizer = factory(_masters);
        ReadRates();
    }

    public override string Name => _optimizer.GetType().Name;

    /// <summary>Wraps an optimizer over the model's own parameters, which must be fp32.</summary>
    public static ClientOptimizer Of(optim.Optimizer optimizer, FlatParameters parameters) => new(parameters.Groups, parameters, optimizer);

    /// <summary>Makes an optimizer over fp32 parameters, whatever the model computes in.</summary>
    public static ClientOptimizer Of(Func<IEnumerable<TorchSharp.Modules.Parameter>, optim.Optimizer> factory, FlatParameters parameters) =>
        new(parameters, factory);

    protected override void Dispose(bool disposing)
    {
        base.Dispose(disposing);
        foreach (TorchSharp.Modules.Parameter master in _masters)
        {
            master.Dispose();
        }

        if (_masters.Length > 0)
        {
            _optimizer.Dispose();
        }

        _wideGradients?.Dispose();
    }

    private protected override void UpdateAll(Tensor values, Tensor gradients, in StepScale scale, Tensor? lowPrecision)
    {
        Tensor wide = _wideGradients?.copy_(gradients) ?? gradients;
        Divided(wide, scale);
        PassOnRate();
        _optimizer.step()?.Dispose();
        lowPrecision?.copy_(values);
    }

    private protected override void Update(ParameterGroup group, Tensor values, Tensor gradients, long offset, in StepScale scale) =>
        throw new NotSupportedException("the caller's optimizer updates all parameters at once");

    private void ReadRates()
    {
        _rate = _optimizer.ParamGroups.First().LearningRate;
        (ParameterGroups[0].LearningRate, ParameterGroups[0].InitialLearningRate) = (_rate, _rate);
    }

    // Either side may have a schedule: the engine's sets the group's rate, the caller's that of its optimizer.
    private void PassOnRate()
    {
        if (ParameterGroups[0].LearningRate != _rate)
        {
            foreach (var group in _optimizer.ParamGroups)
            {
                group.LearningRate = ParameterGroups[0].LearningRate;
            }
        }

        _rate = _optimizer.ParamGroups.First().LearningRate;
        ParameterGroups[0].LearningRate = _rate;
    }
}

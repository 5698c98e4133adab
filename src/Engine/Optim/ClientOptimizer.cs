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

    private double _rate; // what both sides last agreed on, of the optimizer's first group
    private double[] _ratios = []; // its groups' rates by that

    private ClientOptimizer(IReadOnlyList<ParameterGroup> groups, FlatParameters parameters, optim.Optimizer optimizer)
        : base(groups, parameters.Masters.numel(), parameters.Masters.device)
    {
        _optimizer = optimizer;
        CheckParameters(parameters);
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

    private protected override void UpdateElements(ElementRange part, Tensor values, Tensor gradients, IReadOnlyList<Tensor> states,
        in StepScale scale, Tensor? lowPrecision)
    {
        Tensor wide = _wideGradients?.copy_(gradients) ?? gradients;
        Divided(wide, scale);
        PassOnRate();
        _optimizer.step()?.Dispose();
        lowPrecision?.copy_(values);
    }

    private protected override void Update(ParameterGroup group, Tensor values, Tensor gradients, Tensor[] states, long offset,
        in StepScale scale) =>
        throw new NotSupportedException("the caller's optimizer updates all parameters at once");

    // An optimizer made for another model, or before a call that replaced parameters, would train nothing.
    private void CheckParameters(FlatParameters parameters)
    {
        var known = Enumerable.Range(0, parameters.Slots.Count).Select(i => parameters.Leaf(i).Handle).ToHashSet();
        int strangers = _optimizer.parameters().Count(p => !known.Contains(p.Handle));
        if (strangers > 0)
        {
            throw new ArgumentException($"{strangers} of the optimizer's parameters are not trainable parameters of the model; make the "
                + "optimizer from this model's parameters(), after any call of to() on it, or pass a function that makes it");
        }
    }

    private void ReadRates()
    {
        _rate = _optimizer.ParamGroups.First().LearningRate;
        _ratios = [.. _optimizer.ParamGroups.Select(group => _rate == 0 ? 1 : group.LearningRate / _rate)];
        (ParameterGroups[0].LearningRate, ParameterGroups[0].InitialLearningRate) = (_rate, _rate);
    }

    // Either side may have a schedule: the engine's sets the group's rate, the caller's that of its optimizer. The engine
    // knows one group, so its rate moves all of the optimizer's in proportion.
    private void PassOnRate()
    {
        if (ParameterGroups[0].LearningRate != _rate)
        {
            foreach ((var group, double ratio) in _optimizer.ParamGroups.Zip(_ratios))
            {
                group.LearningRate = ParameterGroups[0].LearningRate * ratio;
            }
        }

        _rate = _optimizer.ParamGroups.First().LearningRate;
        ParameterGroups[0].LearningRate = _rate;
    }
}

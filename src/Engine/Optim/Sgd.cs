using DeepSpeedSharp.Config;
using DeepSpeedSharp.Engine.Native;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine.Optim;

/// <summary>Stochastic gradient descent with momentum, as in PyTorch.</summary>
/// <remarks>Sutskever et al., "On the importance of initialization and momentum in deep learning", 2013.</remarks>
internal sealed class Sgd : FlatOptimizer
{
    private readonly bool _fused;

    /// <param name="groups">Groups with <see cref="SgdParams"/>.</param>
    /// <param name="elements">Length of the flat buffers.</param>
    /// <param name="device">Where they are.</param>
    /// <param name="fused">False computes by the plain formulas.</param>
    public Sgd(IReadOnlyList<ParameterGroup> groups, long elements, Device device, bool fused = true)
        : base(groups, elements, device)
    {
        _fused = fused;
        if (groups.Any(g => g.Params is SgdParams { Momentum: not 0 }))
        {
            AddState("momentum_buffer");
        }
    }

    public override string Name => "SGD";

    internal override bool NeedsOverflowKnown => !_fused;

    private protected override bool IsFused => _fused;

    private protected override void Update(ParameterGroup group, Tensor values, Tensor gradients, Tensor[] states, long offset,
        in StepScale scale)
    {
        bool nesterov = ((SgdParams)group.Params).Nesterov;
        Tensor? b = states.Length > 0 ? states[0] : null;
        double momentum = group.Beta1!.Value;
        if (_fused)
        {
            FusedOptimizers.Sgd(values, gradients, b, group.LearningRate, momentum, group.WeightDecay, nesterov, scale.Divisor, scale.FoundInf);
            return;
        }

        Tensor g = Divided(gradients, scale).add_(values, alpha: group.WeightDecay);
        if (b is not null)
        {
            b.mul_(momentum).add_(g);
            g = nesterov ? g.add_(b, alpha: momentum) : b;
        }

        values.add_(g, alpha: -group.LearningRate);
    }
}

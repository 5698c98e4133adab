using DeepSpeedSharp.Config;
using DeepSpeedSharp.Engine.Native;
using TorchSharp;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine.Optim;

/// <summary>Divides each gradient by the root of the sum of its squares so far.</summary>
/// <remarks>Duchi, Hazan and Singer, "Adaptive Subgradient Methods for Online Learning and Stochastic Optimization",
/// 2011. Weight decay is part of the gradient, in the numerator too.</remarks>
internal sealed class Adagrad : FlatOptimizer
{
    private readonly bool _fused;

    /// <param name="groups">Groups with <see cref="AdagradParams"/>.</param>
    /// <param name="elements">Length of the flat buffers.</param>
    /// <param name="device">Where they are.</param>
    /// <param name="fused">False computes by the plain formulas, which also other devices than the CPU use.</param>
    public Adagrad(IReadOnlyList<ParameterGroup> groups, long elements, Device device, bool fused = true)
        : base(groups, elements, device)
    {
        _fused = fused && device.type == DeviceType.CPU;
        AddState("sum");
    }

    public override string Name => "Adagrad";

    internal override bool NeedsOverflowKnown => !_fused;

    private protected override bool IsFused => _fused;

    private protected override void Update(ParameterGroup group, Tensor values, Tensor gradients, Tensor[] states, long offset,
        in StepScale scale)
    {
        Tensor v = states[0];
        double epsilon = ((AdagradParams)group.Params).Epsilon;
        if (_fused)
        {
            FusedOptimizers.Adagrad(values, gradients, v, group.LearningRate, group.WeightDecay, epsilon, scale.Divisor, scale.FoundInf);
            return;
        }

        Tensor g = Divided(gradients, scale).add_(values, alpha: group.WeightDecay);
        v.addcmul_(g, g, value: 1);
        values.addcdiv_(g, v.sqrt().add_(epsilon), value: -group.LearningRate);
    }
}

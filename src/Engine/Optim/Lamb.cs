using DeepSpeedSharp.Config;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine.Optim;

/// <summary>Adam whose step of each tensor is as long as the tensor, within bounds.</summary>
/// <remarks>You et al., "Large Batch Optimization for Deep Learning: Training BERT in 76 minutes", 2020, algorithm 2, with
/// DeepSpeed's clamp of the trust ratio. The norms stay on the device.</remarks>
internal sealed class Lamb : FlatOptimizer
{
    /// <param name="groups">Groups with <see cref="LambParams"/>.</param>
    /// <param name="elements">Length of the flat buffers.</param>
    /// <param name="device">Where they are.</param>
    public Lamb(IReadOnlyList<ParameterGroup> groups, long elements, Device device)
        : base(groups, elements, device)
    {
        AddState("exp_avg");
        AddState("exp_avg_sq");
    }

    public override string Name => "Lamb";

    internal override bool IsElementwise => false;

    private protected override void Update(ParameterGroup group, Tensor values, Tensor gradients, Tensor[] states, long offset,
        in StepScale scale)
    {
        var config = (LambParams)group.Params;
        (Tensor m, Tensor v) = (states[0], states[1]);
        (double b1, double b2) = (group.Beta1!.Value, group.Beta2!.Value);
        Tensor g = Divided(gradients, scale);
        m.mul_(b1).add_(g, alpha: 1 - b1);
        v.mul_(b2).addcmul_(g, g, value: 1 - b2);
        Tensor denominator = config.EpsilonInsideSqrt ? v.add(config.Epsilon).sqrt_() : v.sqrt().add_(config.Epsilon);
        Tensor update = m.div(denominator).add_(values, alpha: group.WeightDecay);
        double rate = config.BiasCorrection
            ? group.LearningRate * Math.Sqrt(1 - Math.Pow(b2, Steps)) / (1 - Math.Pow(b1, Steps)) : group.LearningRate;
        (Tensor length, Tensor updateLength) = (values.norm(), update.norm());
        Tensor trust = (length / updateLength).clamp_(config.MinCoefficient, config.MaxCoefficient);
        Tensor hasBoth = length.gt(0).logical_and_(updateLength.gt(0));
        values.sub_(update.mul_(where(hasBoth, trust, ones_like(trust))).mul_(rate));
    }
}

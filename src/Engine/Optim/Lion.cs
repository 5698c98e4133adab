using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine.Optim;

/// <summary>Moves every value by the learning rate in the direction of a mean gradient's sign.</summary>
/// <remarks>Chen et al., "Symbolic Discovery of Optimization Algorithms", 2023, program 1. A mean of exactly zero moves
/// nothing.</remarks>
internal sealed class Lion : FlatOptimizer
{
    /// <param name="groups">Groups with <see cref="Config.LionParams"/>.</param>
    /// <param name="elements">Length of the flat buffers.</param>
    /// <param name="device">Where they are.</param>
    public Lion(IReadOnlyList<ParameterGroup> groups, long elements, Device device)
        : base(groups, elements, device) => AddState("exp_avg");

    public override string Name => "Lion";

    private protected override void Update(ParameterGroup group, Tensor values, Tensor gradients, Tensor[] states, long offset,
        in StepScale scale)
    {
        Tensor m = states[0];
        (double b1, double b2) = (group.Beta1!.Value, group.Beta2!.Value);
        Tensor g = Divided(gradients, scale);
        Tensor direction = m.mul(b1).add_(g, alpha: 1 - b1).sign_();
        values.mul_(1 - group.LearningRate * group.WeightDecay).add_(direction, alpha: -group.LearningRate);
        m.mul_(b2).add_(g, alpha: 1 - b2);
    }
}

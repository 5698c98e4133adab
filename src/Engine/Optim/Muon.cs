using DeepSpeedSharp.Config;
using DeepSpeedSharp.Engine.Native;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine.Optim;

/// <summary>Momentum whose update of each matrix is made orthogonal; AdamW for everything that is not a matrix.</summary>
/// <remarks>Jordan et al., "Muon: An optimizer for hidden layers in neural networks", 2024.</remarks>
internal sealed class Muon : FlatOptimizer
{
    private readonly bool _fused;
    private readonly Tensor _stepCount; // for the fused kernel

    /// <param name="groups">Groups with <see cref="MuonParams"/>, and others with <see cref="AdamParams"/>.</param>
    /// <param name="elements">Length of the flat buffers.</param>
    /// <param name="device">Where they are.</param>
    /// <param name="fused">False computes AdamW by the plain formulas.</param>
    public Muon(IReadOnlyList<ParameterGroup> groups, long elements, Device device, bool fused = true)
        : base(groups, elements, device)
    {
        _fused = fused;
        _stepCount = zeros([], float32, device).DetachFromDisposeScope();
        AddState("exp_avg"); // running mean of the gradient, of matrices and of the rest
        AddState("exp_avg_sq"); // of the rest only
    }

    public override string Name => "Muon";

    internal override bool IsElementwise => false;

    protected override void Dispose(bool disposing)
    {
        base.Dispose(disposing);
        _stepCount.Dispose();
    }

    private protected override void BeginStep(in StepScale scale) => _stepCount.fill_(Steps);

    private protected override void Update(ParameterGroup group, Tensor values, Tensor gradients, Tensor[] states, long offset,
        in StepScale scale)
    {
        Tensor m = states[0];
        Tensor g = Divided(gradients, scale);
        if (group.Params is AdamParams adam)
        {
            Tensor v = states[1];
            if (_fused)
            {
                FusedOptimizers.Adam(values, g, m, v, _stepCount, group.LearningRate, group.Beta1!.Value, group.Beta2!.Value,
                    group.WeightDecay, adam.Epsilon, adam.AdamWMode);
            }
            else
            {
                PlainAdam.Update(values, g, m, v, group, adam, Steps);
            }

            return;
        }

        ParameterSlot slot = group.Slots.First(s => s.Offset == offset);
        var config = (MuonParams)group.Params;
        double beta = group.Beta1!.Value;
        m.add_(g.sub(m), alpha: 1 - beta);
        Tensor u = g.add(m.sub(g), alpha: beta).view(slot.Shape[0], -1); // convolutions as matrices: [out, the rest]
        Tensor update = NewtonSchulz.Orthogonalize(u, config.NsMethod == "gram");
        update.mul_(Math.Sqrt(Math.Max(1, (double)u.shape[0] / u.shape[1])));
        values.mul_(1 - group.LearningRate * group.WeightDecay).add_(update.view(-1), alpha: -group.LearningRate);
    }
}

using DeepSpeedSharp.Config;

namespace DeepSpeedSharp.Engine.Optim;

/// <summary>Adam's formulas as they stand in the papers, one operator each: what the fused kernels are compared with.</summary>
internal static class PlainAdam
{
    /// <summary>One update, in place.</summary>
    /// <param name="p">[n] fp32 parameters.</param>
    /// <param name="g">[n] fp32 gradients, divided.</param>
    /// <param name="m">[n] fp32: first moment.</param>
    /// <param name="v">[n] fp32: second moment.</param>
    /// <param name="group">Learning rate, decay and betas.</param>
    /// <param name="config">The rest.</param>
    /// <param name="step">Number of this update, from 1.</param>
    public static void Update(Tensor p, Tensor g, Tensor m, Tensor v, ParameterGroup group, AdamParams config, long step)
    {
        double b1 = group.Beta1 ?? config.Betas[0], b2 = group.Beta2 ?? config.Betas[1];
        if (config.AdamWMode)
        {
            p.mul_(1 - group.LearningRate * group.WeightDecay);
        }
        else
        {
            g = g.add(p, alpha: group.WeightDecay);
        }

        m.mul_(b1).add_(g, alpha: 1 - b1);
        v.mul_(b2).addcmul_(g, g, value: 1 - b2);
        double correction1 = config.BiasCorrection ? 1 - Math.Pow(b1, step) : 1;
        double correction2 = config.BiasCorrection ? 1 - Math.Pow(b2, step) : 1;
        Tensor denominator = v.sqrt().div_(Math.Sqrt(correction2)).add_(config.Epsilon);
        p.addcdiv_(m, denominator, value: -group.LearningRate / correction1);
    }
}

using DeepSpeedSharp.Config;

namespace DeepSpeedSharp.Engine;

/// <summary>How a sum over ranks becomes a mean: what gradients are multiplied by before they travel, and what is left
/// to divide by afterwards.</summary>
/// <param name="Before">Factor before the sum.</param>
/// <param name="Left">Divisor that remains after the sum; it joins the division by loss scale and clipping.</param>
internal sealed record AveragingPlan(double Before, double Left)
{
    /// <summary>The plan of a config.</summary>
    /// <remarks>Dividing before the sum keeps 16-bit sums over many ranks in range, dividing afterwards keeps small
    /// gradients from vanishing; <c>gradient_predivide_factor</c> splits the division between both.</remarks>
    public static AveragingPlan From(DeepSpeedConfig config, int worldSize)
    {
        if (config.GradientAllReduceOp == GradientAllReduceOp.Sum)
        {
            return new AveragingPlan(1, 1);
        }

        return config.PrescaleGradients
            ? new AveragingPlan(1.0 / worldSize, 1)
            : new AveragingPlan(1 / config.GradientPredivideFactor, worldSize / config.GradientPredivideFactor);
    }
}

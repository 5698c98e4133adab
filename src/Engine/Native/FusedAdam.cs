namespace DeepSpeedSharp.Engine.Native;

/// <summary>libtorch's fused Adam and AdamW kernels: one pass over memory, no temporaries.</summary>
internal static class FusedAdam
{
    /// <summary>Updates parameters and both moments in place.</summary>
    /// <param name="parameters">[n] values, contiguous.</param>
    /// <param name="gradients">[n], the same element type.</param>
    /// <param name="firstMoment">[n], the same element type.</param>
    /// <param name="secondMoment">[n], the same element type.</param>
    /// <param name="step">0-dimensional fp32: number of this update, from 1; the caller counts.</param>
    /// <param name="learningRate">Learning rate.</param>
    /// <param name="beta1">Decay of the first moment.</param>
    /// <param name="beta2">Decay of the second moment.</param>
    /// <param name="weightDecay">Weight decay.</param>
    /// <param name="epsilon">Added to the denominator.</param>
    /// <param name="decoupled">True for AdamW, false for decay added to the gradient.</param>
    public static void Step(
        Tensor parameters, Tensor gradients, Tensor firstMoment, Tensor secondMoment, Tensor step, double learningRate,
        double beta1, double beta2, double weightDecay, double epsilon, bool decoupled)
    {
        // The kernel reads and writes as far as the first tensor is long, without looking at the others.
        foreach (Tensor other in (ReadOnlySpan<Tensor>)[gradients, firstMoment, secondMoment])
        {
            if (other.numel() != parameters.numel() || other.dtype != parameters.dtype || !other.is_contiguous())
            {
                throw new ArgumentException($"parameters are {parameters.numel()} x {parameters.dtype}, but a gradient or "
                    + $"moment is {other.numel()} x {other.dtype}, or not contiguous", nameof(parameters));
            }
        }

        Span<ulong> stack =
        [
            Dispatcher.Of([parameters]), Dispatcher.Of([gradients]), Dispatcher.Of([firstMoment]),
            Dispatcher.Of([secondMoment]), Dispatcher.Of([]), Dispatcher.Of([step]), Dispatcher.Of(learningRate),
            Dispatcher.Of(beta1), Dispatcher.Of(beta2), Dispatcher.Of(weightDecay), Dispatcher.Of(epsilon),
            Dispatcher.Of(false), Dispatcher.Of(false), Dispatcher.OfOptional(null), Dispatcher.OfOptional(null),
        ];
        Dispatcher.Call(decoupled ? "aten::_fused_adamw_"u8 : "aten::_fused_adam_"u8, stack);
    }
}

using TorchSharp;

namespace DeepSpeedSharp.Engine.Native;

/// <summary>libtorch's fused optimizer kernels: one pass over memory, no temporaries.</summary>
/// <remarks>All take gradients to be divided by <c>divisor</c> (the quotient is written back) and leave everything
/// untouched where <c>foundInf</c> is not zero; both are scalars fp32 on the tensors' device, or null.</remarks>
internal static class FusedOptimizers
{
    /// <summary>Adam and AdamW.</summary>
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
    /// <param name="divisor">See the class.</param>
    /// <param name="foundInf">See the class.</param>
    public static void Adam(
        Tensor parameters, Tensor gradients, Tensor firstMoment, Tensor secondMoment, Tensor step, double learningRate,
        double beta1, double beta2, double weightDecay, double epsilon, bool decoupled, Tensor? divisor = null, Tensor? foundInf = null)
    {
        CheckAlike(parameters, gradients, firstMoment, secondMoment);
        Span<ulong> stack =
        [
            Dispatcher.Of([parameters]), Dispatcher.Of([gradients]), Dispatcher.Of([firstMoment]),
            Dispatcher.Of([secondMoment]), Dispatcher.Of(Array.Empty<Tensor>()), Dispatcher.Of([step]), Dispatcher.Of(learningRate),
            Dispatcher.Of(beta1), Dispatcher.Of(beta2), Dispatcher.Of(weightDecay), Dispatcher.Of(epsilon),
            Dispatcher.Of(false), Dispatcher.Of(false), Dispatcher.OfOptional(divisor), Dispatcher.OfOptional(foundInf),
        ];
        Dispatcher.Call(decoupled ? "aten::_fused_adamw_"u8 : "aten::_fused_adam_"u8, stack);
    }

    /// <summary>SGD with momentum; a momentum buffer of zeros is as good as none.</summary>
    /// <param name="parameters">[n] values, contiguous.</param>
    /// <param name="gradients">[n], the same element type.</param>
    /// <param name="momentumBuffer">[n], the same element type; null without momentum.</param>
    /// <param name="learningRate">Learning rate.</param>
    /// <param name="momentum">Decay of the momentum buffer.</param>
    /// <param name="weightDecay">Weight decay, added to the gradient.</param>
    /// <param name="nesterov">Looks one step ahead.</param>
    /// <param name="divisor">See the class.</param>
    /// <param name="foundInf">See the class.</param>
    public static void Sgd(Tensor parameters, Tensor gradients, Tensor? momentumBuffer, double learningRate, double momentum,
        double weightDecay, bool nesterov, Tensor? divisor = null, Tensor? foundInf = null)
    {
        CheckAlike(parameters, momentumBuffer is null ? [gradients] : [gradients, momentumBuffer]);
        Span<ulong> stack =
        [
            Dispatcher.Of([parameters]), Dispatcher.Of([gradients]),
            Dispatcher.Of(momentumBuffer is null ? Array.Empty<Tensor>() : [momentumBuffer]),
            Dispatcher.Of(weightDecay), Dispatcher.Of(momentum), Dispatcher.Of(learningRate), Dispatcher.Of(0.0 /* dampening */),
            Dispatcher.Of(nesterov), Dispatcher.Of(false), Dispatcher.Of(false), Dispatcher.OfOptional(divisor),
            Dispatcher.OfOptional(foundInf),
        ];
        Dispatcher.Call("aten::_fused_sgd_"u8, stack);
    }

    /// <summary>Adagrad, on the CPU.</summary>
    /// <param name="parameters">[n] values, contiguous.</param>
    /// <param name="gradients">[n], the same element type.</param>
    /// <param name="sum">[n], the same element type: sum of squared gradients.</param>
    /// <param name="learningRate">Learning rate.</param>
    /// <param name="weightDecay">Weight decay, added to the gradient.</param>
    /// <param name="epsilon">Added to the denominator.</param>
    /// <param name="divisor">See the class.</param>
    /// <param name="foundInf">See the class.</param>
    public static void Adagrad(Tensor parameters, Tensor gradients, Tensor sum, double learningRate, double weightDecay, double epsilon,
        Tensor? divisor = null, Tensor? foundInf = null)
    {
        CheckAlike(parameters, gradients, sum);
        using Tensor step = torch.ones([], torch.float32); // without decay of the rate, its value does not matter
        Span<ulong> stack =
        [
            Dispatcher.Of([parameters]), Dispatcher.Of([gradients]), Dispatcher.Of([sum]), Dispatcher.Of([step]),
            Dispatcher.Of(learningRate), Dispatcher.Of(0.0 /* decay of the rate */), Dispatcher.Of(weightDecay), Dispatcher.Of(epsilon),
            Dispatcher.Of(false), Dispatcher.OfOptional(divisor), Dispatcher.OfOptional(foundInf),
        ];
        Dispatcher.Call("aten::_fused_adagrad_"u8, stack);
    }

    // The kernels read and write as far as the first tensor is long, without looking at the others.
    private static void CheckAlike(Tensor parameters, params ReadOnlySpan<Tensor> others)
    {
        foreach (Tensor other in others)
        {
            if (other.numel() != parameters.numel() || other.dtype != parameters.dtype || !other.is_contiguous())
            {
                throw new ArgumentException($"parameters are {parameters.numel()} x {parameters.dtype}, but a gradient or "
                    + $"state is {other.numel()} x {other.dtype}, or not contiguous", nameof(parameters));
            }
        }
    }
}

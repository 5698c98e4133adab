using TorchSharp;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine.Kernels;

/// <summary>The last layer of a language model and its loss together: linear projection to the vocabulary, softmax and
/// cross entropy.</summary>
/// <remarks>
/// With a vocabulary of 50,000 the logits are by far the largest tensor of a model, and framework operators read and
/// write them many times, partly in fp32. On a GPU in 16-bit precision this computes the gradient of the logits in their
/// own place, in one kernel, as soon as they are known: the logits exist once, and nothing of their size is kept for
/// backward. Everywhere else it is the plain composition of operators, which the tests compare the kernel with.
/// Hsu et al., "Liger Kernel: Efficient Triton Kernels for LLM Training", 2024, section 3.2, has the idea.
/// </remarks>
public static class LinearCrossEntropy
{
    /// <summary>PyTorch's default for targets that do not count.</summary>
    public const long DefaultIgnoredTarget = -100;

    /// <summary>Mean cross entropy.</summary>
    /// <param name="hidden">[rows, size], a floating type.</param>
    /// <param name="weight">[classes, size], the same type, for example a tied embedding.</param>
    /// <param name="targets">[rows] int64, each a class or <paramref name="ignoredTarget"/>.</param>
    /// <param name="ignoredTarget">Rows with this target have no part in the mean.</param>
    /// <returns>Scalar fp32 loss; not a number when no row counts. The caller disposes it.</returns>
    public static Tensor Mean(Tensor hidden, Tensor weight, Tensor targets, long ignoredTarget = DefaultIgnoredTarget) =>
        IsFused(hidden, weight) ? Fused(hidden, weight, targets, ignoredTarget) : Plain(hidden, weight, targets, ignoredTarget);

    /// <summary>The composition of operators, in fp32 from the logits on.</summary>
    internal static Tensor Plain(Tensor hidden, Tensor weight, Tensor targets, long ignoredTarget)
    {
        using DisposeScope scope = NewDisposeScope();
        Tensor logits = nn.functional.linear(hidden, weight); // [rows, classes]
        return nn.functional.cross_entropy(logits.to(float32), targets, ignore_index: ignoredTarget).MoveToOuterDisposeScope();
    }

    internal static Tensor Fused(Tensor hidden, Tensor weight, Tensor targets, long ignoredTarget)
    {
        using DisposeScope scope = NewDisposeScope();
        // A class's gradient is a sum over all rows before the mean divides it: too large for fp16, unless made smaller here.
        double shrunk = hidden.dtype == ScalarType.Float16 ? 1.0 / 256 : 1;
        (Tensor hiddenGradient, Tensor weightGradient, Tensor loss, Tensor share) = (empty(0), empty(0), empty(0), empty(0));
        using (no_grad())
        {
            using Tensor logits = nn.functional.linear(hidden, weight); // becomes the logits' gradient
            using Tensor losses = CrossEntropyKernel.Run(logits, targets, ignoredTarget);
            share = targets.ne(ignoredTarget).sum().to(float32).reciprocal_(); // what a counting row has in the mean
            loss = losses.sum() * share;
            if (hidden.requires_grad || weight.requires_grad)
            {
                hiddenGradient = logits.mm(weight); // [rows, size]
                weightGradient = logits.t().mm(shrunk == 1 ? hidden : hidden * shrunk); // [classes, size]
            }
        }

        if (!is_grad_enabled() || !(hidden.requires_grad || weight.requires_grad))
        {
            return loss.MoveToOuterDisposeScope();
        }

        // A sum whose derivatives by its factors are the gradients; only its value is not the loss, so it gets that.
        Tensor result = ((hidden * hiddenGradient).sum(ScalarType.Float32)
            + (weight * weightGradient).sum(ScalarType.Float32) * (1 / shrunk)) * share;
        using (no_grad())
        {
            result.detach().copy_(loss);
        }

        return result.MoveToOuterDisposeScope();
    }

    private static bool IsFused(Tensor hidden, Tensor weight) =>
        hidden.device_type == DeviceType.CUDA && hidden.dtype == weight.dtype
        && hidden.dtype is ScalarType.BFloat16 or ScalarType.Float16
        && CrossEntropyKernel.ReasonAgainst(hidden.device) is null;
}

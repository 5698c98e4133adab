using DeepSpeedSharp.Engine.Native;
using TorchSharp;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine.Precision;

/// <summary>Measures the gradients of a step, and says by what they are to be divided and whether to skip the step.</summary>
/// <remarks>
/// One pass over the gradients: their norm is not finite exactly when one of them is not (or when their squares leave
/// fp32, which is no better). Unscaling, averaging and clipping are one division, which the optimizer makes as it reads
/// the gradients. Everything stays on the device, so a GPU is not waited for.
/// Clipping by the global norm: Pascanu, Mikolov and Bengio, "On the difficulty of training recurrent neural networks",
/// 2013, algorithm 1.
/// </remarks>
internal sealed class GradientScale(double clip, bool checksOverflow) : IDisposable
{
    // As in DeepSpeed; keeps the quotient finite for a norm of zero.
    private const double ClipEpsilon = 1e-6;

    /// <summary>Scalar fp32: global L2 norm of the averaged, unscaled gradients, before clipping.</summary>
    public Tensor Norm { get; private set; } = zeros([]).DetachFromDisposeScope();

    /// <summary>Scalar fp32: what every gradient is to be divided by.</summary>
    public Tensor Divisor { get; private set; } = ones([]).DetachFromDisposeScope();

    /// <summary>Scalar fp32: 1 when a gradient is not finite; null when nobody looks for that.</summary>
    public Tensor? Overflow { get; private set; }

    /// <summary>Measures gradients.</summary>
    /// <param name="gradients">[n]: gradients that are <paramref name="factor"/> times too large.</param>
    /// <param name="factor">Loss scale, times what is left of averaging over ranks.</param>
    /// <param name="sumOverRanks">Sums a scalar over ranks in place, where each has a shard of the gradients; null where
    /// each has all of them.</param>
    public void Measure(Tensor gradients, double factor, Action<Tensor>? sumOverRanks = null)
    {
        using Tensor norm = WideNorm.Of(gradients);
        MeasureNorm(norm, factor, sumOverRanks);
    }

    /// <summary>Measures gradients whose norm is known.</summary>
    /// <param name="norm">Scalar fp32: the norm of gradients that are <paramref name="factor"/> times too large; the results
    /// are where it is.</param>
    /// <param name="factor">As for <see cref="Measure"/>.</param>
    /// <param name="sumOverRanks">As for <see cref="Measure"/>.</param>
    public void MeasureNorm(Tensor norm, double factor, Action<Tensor>? sumOverRanks = null)
    {
        Dispose();
        using DisposeScope scope = NewDisposeScope();
        Tensor raw = norm;
        if (sumOverRanks is not null)
        {
            // A shard that is not finite makes the sum so on every rank: all skip the step together.
            Tensor squares = raw.square();
            sumOverRanks(squares);
            raw = squares.sqrt();
        }

        Overflow = checksOverflow ? raw.isfinite().logical_not().to(float32).DetachFromDisposeScope() : null;
        Norm = (raw / factor).DetachFromDisposeScope();
        // max(1, (norm + eps) / clip) x factor
        Divisor = (clip > 0 ? (Norm + ClipEpsilon).mul_(factor / clip).clamp_(min: factor) : full([], factor, float32, norm.device))
            .DetachFromDisposeScope();
    }

    public void Dispose()
    {
        Norm.Dispose();
        Divisor.Dispose();
        Overflow?.Dispose();
    }
}

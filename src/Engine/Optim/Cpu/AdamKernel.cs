using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace DeepSpeedSharp.Engine.Optim;

/// <summary>The numbers of one Adam update, ready to be multiplied with.</summary>
/// <param name="Keep">What decoupled decay leaves of a value.</param>
/// <param name="L2">Weight decay that is added to the gradient.</param>
/// <param name="Beta1">Decay of the first moment.</param>
/// <param name="Rest1">1 - <paramref name="Beta1"/>.</param>
/// <param name="Beta2">Decay of the second moment.</param>
/// <param name="Rest2">1 - <paramref name="Beta2"/>.</param>
/// <param name="Multiplier">What gradients are multiplied by first.</param>
/// <param name="Rate">Learning rate over the first moment's correction.</param>
/// <param name="RootScale">1 over the root of the second moment's correction.</param>
/// <param name="Epsilon">Added to the denominator.</param>
internal readonly record struct AdamNumbers(
    float Keep, float L2, float Beta1, float Rest1, float Beta2, float Rest2, float Multiplier, float Rate, float RootScale, float Epsilon);

/// <summary>Adam over memory, eight values at a time, each byte read and written once.</summary>
/// <remarks>Eight and not sixteen: memory sets the pace (28 bytes per value), so that wider vectors gain nothing, and
/// every processor with AVX2 or Neon runs this.</remarks>
internal static unsafe class AdamKernel
{
    private const int Width = 8;

    /// <summary>One update, in place.</summary>
    /// <typeparam name="TGradient">Type of the gradients.</typeparam>
    /// <typeparam name="TCopy">Type of the rounded copy, or <see cref="NoCopy"/>.</typeparam>
    /// <param name="p">[count] values.</param>
    /// <param name="g">[count] gradients.</param>
    /// <param name="m">[count] first moment.</param>
    /// <param name="v">[count] second moment.</param>
    /// <param name="copy">[count] receives the new values, rounded.</param>
    /// <param name="count">Number of values.</param>
    /// <param name="n">The update's numbers.</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Update<TGradient, TCopy>(float* p, byte* g, float* m, float* v, byte* copy, long count, in AdamNumbers n)
        where TGradient : IFloatFormat
        where TCopy : IFloatFormat
    {
        AdamNumbers numbers = n; // in registers; the reference might alias what is written
        long i = 0;
        for (; i <= count - Width; i += Width)
        {
            Eight<TGradient, TCopy>(p + i, g + i * TGradient.Size, m + i, v + i, copy + i * TCopy.Size, numbers);
        }

        int left = (int)(count - i);
        if (left > 0)
        {
            Last<TGradient, TCopy>(p + i, g + i * TGradient.Size, m + i, v + i, copy + i * TCopy.Size, left, numbers);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Eight<TGradient, TCopy>(float* p, byte* g, float* m, float* v, byte* copy, in AdamNumbers n)
        where TGradient : IFloatFormat
        where TCopy : IFloatFormat
    {
        Vector256<float> value = Vector256.Load(p);
        Vector256<float> gradient = TGradient.Read(g) * Vector256.Create(n.Multiplier);
        gradient = Vector256.MultiplyAddEstimate(value, Vector256.Create(n.L2), gradient);
        Vector256<float> first = Vector256.MultiplyAddEstimate(
            Vector256.Create(n.Rest1), gradient, Vector256.Load(m) * Vector256.Create(n.Beta1));
        Vector256<float> second = Vector256.MultiplyAddEstimate(
            Vector256.Create(n.Rest2) * gradient, gradient, Vector256.Load(v) * Vector256.Create(n.Beta2));
        Vector256<float> denominator = Vector256.MultiplyAddEstimate(
            Vector256.Sqrt(second), Vector256.Create(n.RootScale), Vector256.Create(n.Epsilon));
        value = Vector256.MultiplyAddEstimate(Vector256.Create(-n.Rate), first / denominator, value * Vector256.Create(n.Keep));
        first.Store(m);
        second.Store(v);
        value.Store(p);
        TCopy.Write(value, copy);
    }

    // Fewer than eight, through a padded copy: the same instructions, hence the same rounding wherever a piece ends.
    private static void Last<TGradient, TCopy>(float* p, byte* g, float* m, float* v, byte* copy, int count, in AdamNumbers n)
        where TGradient : IFloatFormat
        where TCopy : IFloatFormat
    {
        float* numbers = stackalloc float[5 * Width]; // p, m, v, g, copy
        new Span<float>(numbers, 5 * Width).Clear();
        float* p8 = numbers, m8 = numbers + Width, v8 = numbers + 2 * Width;
        byte* g8 = (byte*)(numbers + 3 * Width), copy8 = (byte*)(numbers + 4 * Width);
        long bytes = count * sizeof(float);
        Buffer.MemoryCopy(p, p8, bytes, bytes);
        Buffer.MemoryCopy(m, m8, bytes, bytes);
        Buffer.MemoryCopy(v, v8, bytes, bytes);
        Buffer.MemoryCopy(g, g8, count * TGradient.Size, count * TGradient.Size);
        Eight<TGradient, TCopy>(p8, g8, m8, v8, copy8, n);
        Buffer.MemoryCopy(p8, p, bytes, bytes);
        Buffer.MemoryCopy(m8, m, bytes, bytes);
        Buffer.MemoryCopy(v8, v, bytes, bytes);
        Buffer.MemoryCopy(copy8, copy, count * TCopy.Size, count * TCopy.Size);
    }
}

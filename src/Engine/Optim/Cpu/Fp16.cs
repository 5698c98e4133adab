using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace DeepSpeedSharp.Engine.Optim;

/// <summary>IEEE half precision: 5 bits of exponent, 10 of mantissa. Beyond 65504 it is infinite.</summary>
/// <remarks>By integer arithmetic on the bits, as .NET does not give access to the processor's own conversion. Small
/// numbers below the normal range go through one floating-point addition, whose rounding puts the bits in place.</remarks>
internal readonly unsafe struct Fp16 : IFloatFormat
{
    private const uint Rebias = (127 - 15) << 23; // between the exponents of the two formats

    public static int Size => sizeof(ushort);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> Read(byte* from)
    {
        Vector128<ushort> half = Vector128.Load((ushort*)from);
        Vector256<uint> bits = Vector256.Create(Vector128.WidenLower(half), Vector128.WidenUpper(half));
        Vector256<uint> magnitude = (bits & Vector256.Create(0x7FFFu)) << 13;
        Vector256<uint> exponent = magnitude & Vector256.Create(0x7C00u << 13);
        Vector256<uint> single = magnitude + Vector256.Create(Rebias);
        Vector256<uint> special = single + Vector256.Create((128u - 16) << 23); // infinite or not a number
        Vector256<uint> small = ((single + Vector256.Create(1u << 23)).AsSingle()
            - Vector256.Create(113u << 23).AsSingle()).AsUInt32();
        single = Vector256.ConditionalSelect(Vector256.Equals(exponent, Vector256.Create(0x7C00u << 13)), special, single);
        single = Vector256.ConditionalSelect(Vector256.Equals(exponent, Vector256<uint>.Zero), small, single);
        return (single | ((bits & Vector256.Create(0x8000u)) << 16)).AsSingle();
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Write(Vector256<float> numbers, byte* to)
    {
        const uint Infinity = 255u << 23, TooLarge = (127u + 16) << 23, SmallestNormal = 113u << 23;
        const uint SmallOffset = ((127u - 15) + (23 - 10) + 1) << 23;
        Vector256<uint> bits = numbers.AsUInt32();
        Vector256<uint> magnitude = bits & Vector256.Create(0x7FFF_FFFFu);
        Vector256<uint> sign = (bits ^ magnitude) >> 16;
        Vector256<uint> normal = (magnitude - Vector256.Create(Rebias) + Vector256.Create(0xFFFu)
            + ((magnitude >> 13) & Vector256<uint>.One)) >> 13;
        Vector256<uint> small = (magnitude.AsSingle() + Vector256.Create(SmallOffset).AsSingle()).AsUInt32()
            - Vector256.Create(SmallOffset);
        // Magnitudes are below 2^31, so signed comparisons, which processors have, do.
        Vector256<int> signed = magnitude.AsInt32();
        Vector256<uint> special = Vector256.ConditionalSelect(
            Vector256.GreaterThan(signed, Vector256.Create((int)Infinity)).AsUInt32(), Vector256.Create(0x7E00u), Vector256.Create(0x7C00u));
        Vector256<uint> result = Vector256.ConditionalSelect(
            Vector256.LessThan(signed, Vector256.Create((int)SmallestNormal)).AsUInt32(), small, normal);
        result = Vector256.ConditionalSelect(
            Vector256.LessThan(signed, Vector256.Create((int)TooLarge)).AsUInt32(), result, special) | sign;
        Vector128.Narrow(result.GetLower(), result.GetUpper()).Store((ushort*)to);
    }
}

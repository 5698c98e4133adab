using System.Numerics.Tensors;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine.Comm;

/// <summary>Adds one buffer to another, for the element types that gradients travel in.</summary>
/// <remarks>16-bit values are added in fp32 and rounded to nearest, ties to even, as a processor would.</remarks>
internal static class Summation
{
    /// <summary>Whether values of a type can be summed.</summary>
    public static bool Supports(ScalarType type) => type is ScalarType.Float32 or ScalarType.Float16 or ScalarType.BFloat16;

    /// <summary>Size of an element, for the types that can be summed.</summary>
    public static int BytesOf(ScalarType type) => type == ScalarType.Float32 ? sizeof(float) : sizeof(ushort);

    /// <summary>Adds.</summary>
    /// <param name="type">Element type of both.</param>
    /// <param name="sum">[n] values; receives the sum.</param>
    /// <param name="other">[n] values.</param>
    public static void Add(ScalarType type, Span<byte> sum, ReadOnlySpan<byte> other)
    {
        switch (type)
        {
            case ScalarType.Float32:
                Span<float> floats = MemoryMarshal.Cast<byte, float>(sum);
                TensorPrimitives.Add(floats, MemoryMarshal.Cast<byte, float>(other), floats);
                break;
            case ScalarType.Float16:
                Span<Half> halves = MemoryMarshal.Cast<byte, Half>(sum);
                TensorPrimitives.Add(halves, MemoryMarshal.Cast<byte, Half>(other), halves);
                break;
            default:
                AddBFloat16(MemoryMarshal.Cast<byte, ushort>(sum), MemoryMarshal.Cast<byte, ushort>(other));
                break;
        }
    }

    // bfloat16 is the upper half of an fp32 value.
    private static void AddBFloat16(Span<ushort> sum, ReadOnlySpan<ushort> other)
    {
        int i = 0;
        for (; i <= sum.Length - Vector256<ushort>.Count; i += Vector256<ushort>.Count)
        {
            (Vector256<uint> a0, Vector256<uint> a1) = Vector256.Widen(Vector256.Create<ushort>(sum[i..]));
            (Vector256<uint> b0, Vector256<uint> b1) = Vector256.Widen(Vector256.Create(other[i..]));
            Vector256.Narrow(Round(Value(a0) + Value(b0)), Round(Value(a1) + Value(b1))).CopyTo(sum[i..]);
        }

        for (; i < sum.Length; i++)
        {
            sum[i] = Round(BitConverter.UInt32BitsToSingle((uint)sum[i] << 16) + BitConverter.UInt32BitsToSingle((uint)other[i] << 16));
        }

        static Vector256<float> Value(Vector256<uint> upper) => (upper << 16).AsSingle();
    }

    private static Vector256<uint> Round(Vector256<float> value)
    {
        Vector256<uint> bits = value.AsUInt32();
        Vector256<uint> rounded = (bits + Vector256.Create(0x7fffu) + ((bits >> 16) & Vector256<uint>.One)) >> 16;
        // Rounding a NaN could carry into the sign or an infinity.
        return Vector256.ConditionalSelect(Vector256.Equals(value, value).AsUInt32(), rounded, Vector256.Create(0x7fc0u));
    }

    private static ushort Round(float value)
    {
        uint bits = BitConverter.SingleToUInt32Bits(value);
        return float.IsNaN(value) ? (ushort)0x7fc0 : (ushort)((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
    }
}

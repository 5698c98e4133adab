using System.Numerics.Tensors;
using System.Runtime.Intrinsics;

namespace DeepSpeedSharp.Engine.Comm;

/// <summary>Arithmetic on 16-bit floating-point values, in fp32.</summary>
internal static class ShortFloats
{
    // Two blocks of fp32 values stay in the first-level cache.
    private const int Block = 1024;

    /// <summary>Combines fp16 values.</summary>
    public static void Combine(ReduceOp op, ReadOnlySpan<Half> left, ReadOnlySpan<Half> right, Span<Half> result)
    {
        Span<float> x = stackalloc float[Block], y = stackalloc float[Block];
        for (int start = 0; start < result.Length; start += Block)
        {
            int length = Math.Min(Block, result.Length - start);
            TensorPrimitives.ConvertToSingle(left.Slice(start, length), x);
            TensorPrimitives.ConvertToSingle(right.Slice(start, length), y);
            Reduction.Arithmetic<float>(op, x[..length], y[..length], x);
            TensorPrimitives.ConvertToHalf(x[..length], result[start..]);
        }
    }

    /// <summary>Combines bf16 values, given by their bits.</summary>
    public static void Combine(ReduceOp op, ReadOnlySpan<ushort> left, ReadOnlySpan<ushort> right, Span<ushort> result)
    {
        if (op is ReduceOp.Sum or ReduceOp.Avg)
        {
            Add(left, right, result);
            return;
        }

        Span<float> x = stackalloc float[Block], y = stackalloc float[Block];
        for (int start = 0; start < result.Length; start += Block)
        {
            int length = Math.Min(Block, result.Length - start);
            Widen(left.Slice(start, length), x);
            Widen(right.Slice(start, length), y);
            Reduction.Arithmetic<float>(op, x[..length], y[..length], x);
            Narrow(x[..length], result[start..]);
        }
    }

    /// <summary>Divides fp16 values.</summary>
    public static void Divide(Span<Half> values, int count)
    {
        Span<float> x = stackalloc float[Block];
        for (int start = 0; start < values.Length; start += Block)
        {
            Span<Half> block = values.Slice(start, Math.Min(Block, values.Length - start));
            TensorPrimitives.ConvertToSingle(block, x);
            TensorPrimitives.Divide(x[..block.Length], count, x);
            TensorPrimitives.ConvertToHalf(x[..block.Length], block);
        }
    }

    /// <summary>Divides bf16 values.</summary>
    public static void Divide(Span<ushort> values, int count)
    {
        Span<float> x = stackalloc float[Block];
        for (int start = 0; start < values.Length; start += Block)
        {
            Span<ushort> block = values.Slice(start, Math.Min(Block, values.Length - start));
            Widen(block, x);
            TensorPrimitives.Divide(x[..block.Length], count, x);
            Narrow(x[..block.Length], block);
        }
    }

    // By far the most frequent: without a detour over memory. bfloat16 is the upper half of an fp32 value.
    private static void Add(ReadOnlySpan<ushort> left, ReadOnlySpan<ushort> right, Span<ushort> result)
    {
        int i = 0;
        for (; i <= result.Length - Vector512<ushort>.Count; i += Vector512<ushort>.Count)
        {
            (Vector512<uint> a0, Vector512<uint> a1) = Vector512.Widen(Vector512.Create(left[i..]));
            (Vector512<uint> b0, Vector512<uint> b1) = Vector512.Widen(Vector512.Create(right[i..]));
            Vector512.Narrow(Round(Values(a0) + Values(b0)), Round(Values(a1) + Values(b1))).CopyTo(result[i..]);
        }

        for (; i < result.Length; i++)
        {
            result[i] = Round(Value(left[i]) + Value(right[i]));
        }

        static Vector512<float> Values(Vector512<uint> upper) => (upper << 16).AsSingle();
    }

    private static void Widen(ReadOnlySpan<ushort> values, Span<float> result)
    {
        for (int i = 0; i < values.Length; i++)
        {
            result[i] = Value(values[i]);
        }
    }

    private static void Narrow(ReadOnlySpan<float> values, Span<ushort> result)
    {
        for (int i = 0; i < values.Length; i++)
        {
            result[i] = Round(values[i]);
        }
    }

    private static float Value(ushort upper) => BitConverter.UInt32BitsToSingle((uint)upper << 16);

    private static Vector512<uint> Round(Vector512<float> value)
    {
        Vector512<uint> bits = value.AsUInt32();
        Vector512<uint> rounded = (bits + Vector512.Create(0x7fffu) + ((bits >> 16) & Vector512<uint>.One)) >> 16;
        // Rounding a NaN could carry into the sign or an infinity.
        return Vector512.ConditionalSelect(Vector512.Equals(value, value).AsUInt32(), rounded, Vector512.Create(0x7fc0u));
    }

    private static ushort Round(float value)
    {
        uint bits = BitConverter.SingleToUInt32Bits(value);
        return float.IsNaN(value) ? (ushort)0x7fc0 : (ushort)((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
    }
}

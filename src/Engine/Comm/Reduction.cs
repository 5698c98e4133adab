using System.Numerics;
using System.Numerics.Tensors;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine.Comm;

/// <summary>Combines two buffers element by element, with the vector instructions of the processor.</summary>
/// <remarks>16-bit values are combined in fp32 and rounded to nearest, ties to even, as a processor would.</remarks>
internal static class Reduction
{
    /// <summary>Whether values of a type can be combined at all.</summary>
    public static bool Supports(ScalarType type) => IsFloatingPoint(type) || type is ScalarType.Int32 or ScalarType.Int64 or ScalarType.Byte;

    /// <summary>Whether an operation is defined for a type.</summary>
    public static bool Supports(ScalarType type, ReduceOp op) => Supports(type) && op switch
    {
        ReduceOp.Avg => IsFloatingPoint(type),
        ReduceOp.Band or ReduceOp.Bor or ReduceOp.Bxor => !IsFloatingPoint(type),
        _ => true,
    };

    /// <summary>Size of an element, for the types that can be combined.</summary>
    public static int BytesOf(ScalarType type) => type switch
    {
        ScalarType.Float64 or ScalarType.Int64 => 8,
        ScalarType.Float32 or ScalarType.Int32 => 4,
        ScalarType.Float16 or ScalarType.BFloat16 => 2,
        _ => 1,
    };

    /// <summary>Combines, without the division of <see cref="ReduceOp.Avg"/>.</summary>
    /// <param name="type">Element type of all three.</param>
    /// <param name="op">How.</param>
    /// <param name="left">[n] values, those of the lower rank: the order decides about a NaN's bits.</param>
    /// <param name="right">[n] values.</param>
    /// <param name="result">[n] values; may be one of the two.</param>
    public static void Combine(ScalarType type, ReduceOp op, ReadOnlySpan<byte> left, ReadOnlySpan<byte> right, Span<byte> result)
    {
        switch (type)
        {
            case ScalarType.Float32:
                Arithmetic<float>(op, left, right, result);
                break;
            case ScalarType.Float64:
                Arithmetic<double>(op, left, right, result);
                break;
            case ScalarType.Float16:
                ShortFloats.Combine(op, Cast<Half>(left), Cast<Half>(right), MemoryMarshal.Cast<byte, Half>(result));
                break;
            case ScalarType.BFloat16:
                ShortFloats.Combine(op, Cast<ushort>(left), Cast<ushort>(right), MemoryMarshal.Cast<byte, ushort>(result));
                break;
            case ScalarType.Int32:
                Whole<int>(op, left, right, result);
                break;
            case ScalarType.Int64:
                Whole<long>(op, left, right, result);
                break;
            default:
                Whole<byte>(op, left, right, result);
                break;
        }
    }

    /// <summary>Turns a sum into a mean; only after <see cref="ReduceOp.Avg"/>.</summary>
    public static void Finish(ScalarType type, ReduceOp op, Span<byte> sum, int count)
    {
        if (op != ReduceOp.Avg)
        {
            return;
        }

        switch (type)
        {
            case ScalarType.Float32:
                Span<float> floats = MemoryMarshal.Cast<byte, float>(sum);
                TensorPrimitives.Divide(floats, count, floats);
                break;
            case ScalarType.Float64:
                Span<double> doubles = MemoryMarshal.Cast<byte, double>(sum);
                TensorPrimitives.Divide(doubles, count, doubles);
                break;
            case ScalarType.Float16:
                ShortFloats.Divide(MemoryMarshal.Cast<byte, Half>(sum), count);
                break;
            default:
                ShortFloats.Divide(MemoryMarshal.Cast<byte, ushort>(sum), count);
                break;
        }
    }

    /// <summary>Combines floating-point numbers of the processor's own types.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static void Arithmetic<T>(ReduceOp op, ReadOnlySpan<T> x, ReadOnlySpan<T> y, Span<T> result)
        where T : INumber<T>
    {
        switch (op)
        {
            case ReduceOp.Product:
                TensorPrimitives.Multiply(x, y, result);
                break;
            case ReduceOp.Min:
                TensorPrimitives.Min(x, y, result);
                break;
            case ReduceOp.Max:
                TensorPrimitives.Max(x, y, result);
                break;
            default:
                TensorPrimitives.Add(x, y, result);
                break;
        }
    }

    private static void Arithmetic<T>(ReduceOp op, ReadOnlySpan<byte> left, ReadOnlySpan<byte> right, Span<byte> result)
        where T : unmanaged, INumber<T> => Arithmetic(op, Cast<T>(left), Cast<T>(right), MemoryMarshal.Cast<byte, T>(result));

    private static void Whole<T>(ReduceOp op, ReadOnlySpan<byte> left, ReadOnlySpan<byte> right, Span<byte> result)
        where T : unmanaged, IBinaryInteger<T>
    {
        ReadOnlySpan<T> x = Cast<T>(left), y = Cast<T>(right);
        Span<T> z = MemoryMarshal.Cast<byte, T>(result);
        switch (op)
        {
            case ReduceOp.Band:
                TensorPrimitives.BitwiseAnd(x, y, z);
                break;
            case ReduceOp.Bor:
                TensorPrimitives.BitwiseOr(x, y, z);
                break;
            case ReduceOp.Bxor:
                TensorPrimitives.Xor(x, y, z);
                break;
            default:
                Arithmetic(op, x, y, z);
                break;
        }
    }

    private static ReadOnlySpan<T> Cast<T>(ReadOnlySpan<byte> bytes)
        where T : unmanaged => MemoryMarshal.Cast<byte, T>(bytes);

    private static bool IsFloatingPoint(ScalarType type) =>
        type is ScalarType.Float32 or ScalarType.Float64 or ScalarType.Float16 or ScalarType.BFloat16;
}

using System.Runtime.InteropServices;

namespace DeepSpeedSharp.Checkpoints;

/// <summary>Converts between the floating types of safetensors files, rounding to the nearest, ties to even.</summary>
internal static class FloatConversion
{
    /// <summary>Converts values; other types and equal ones are copied.</summary>
    /// <param name="from">Element type of the source.</param>
    /// <param name="source">The bytes of the values.</param>
    /// <param name="to">Element type wanted.</param>
    /// <param name="target">Gets the bytes; as many elements as the source.</param>
    /// <returns>How many finite values became infinite.</returns>
    public static long Convert(string from, ReadOnlySpan<byte> source, string to, Span<byte> target)
    {
        if (from == to)
        {
            source.CopyTo(target);
            return 0;
        }

        if (from == "F32" && to is ("BF16" or "F16"))
        {
            return Narrow(MemoryMarshal.Cast<byte, float>(source), to == "BF16", target);
        }

        long beyond = 0;
        int fromSize = ElementTypes.SizeOf(from);
        int toSize = ElementTypes.SizeOf(to);
        for (int i = 0; i < source.Length / fromSize; i++)
        {
            double value = Get(from, source.Slice(i * fromSize, fromSize));
            bool isFinite = Set(to, target.Slice(i * toSize, toSize), value);
            beyond += double.IsFinite(value) && !isFinite ? 1 : 0;
        }

        return beyond;
    }

    /// <summary>The upper half of a float, rounded. A NaN stays one.</summary>
    public static ushort ToBFloat16(float value)
    {
        uint bits = BitConverter.SingleToUInt32Bits(value);
        return float.IsNaN(value) ? (ushort)((bits >> 16) | 0x40) : (ushort)((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16);
    }

    // What nearly every checkpoint needs, without asking for types at each value.
    private static long Narrow(ReadOnlySpan<float> source, bool isBFloat16, Span<byte> target)
    {
        Span<ushort> words = MemoryMarshal.Cast<byte, ushort>(target);
        ushort infinity = isBFloat16 ? (ushort)0x7F80 : BitConverter.HalfToUInt16Bits(Half.PositiveInfinity);
        long beyond = 0;
        for (int i = 0; i < source.Length; i++)
        {
            words[i] = isBFloat16 ? ToBFloat16(source[i]) : BitConverter.HalfToUInt16Bits((Half)source[i]);
            beyond += (words[i] & 0x7FFF) == infinity && float.IsFinite(source[i]) ? 1 : 0;
        }

        return beyond;
    }

    private static float FromBFloat16(ushort value) => BitConverter.UInt32BitsToSingle((uint)value << 16);

    private static double Get(string type, ReadOnlySpan<byte> bytes) => type switch
    {
        "F64" => MemoryMarshal.Read<double>(bytes),
        "F32" => MemoryMarshal.Read<float>(bytes),
        "F16" => (double)MemoryMarshal.Read<Half>(bytes),
        _ => FromBFloat16(MemoryMarshal.Read<ushort>(bytes)),
    };

    private static bool Set(string type, Span<byte> bytes, double value)
    {
        switch (type)
        {
            case "F64":
                MemoryMarshal.Write(bytes, value);
                return double.IsFinite(value);
            case "F32":
                float single = (float)value;
                MemoryMarshal.Write(bytes, single);
                return float.IsFinite(single);
            case "F16":
                Half half = (Half)(float)value;
                MemoryMarshal.Write(bytes, half);
                return Half.IsFinite(half);
            default:
                ushort rounded = ToBFloat16((float)value);
                MemoryMarshal.Write(bytes, rounded);
                return float.IsFinite(FromBFloat16(rounded));
        }
    }
}

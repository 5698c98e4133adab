namespace DeepSpeedSharp.Checkpoints;

/// <summary>The element types of safetensors files, by the format's names.</summary>
internal static class ElementTypes
{
    /// <summary>Bytes of one element.</summary>
    /// <exception cref="FormatException">This release does not know the type.</exception>
    public static int SizeOf(string type) => type switch
    {
        "F64" or "I64" => 8,
        "F32" or "I32" => 4,
        "F16" or "BF16" or "I16" => 2,
        "I8" or "U8" or "BOOL" => 1,
        _ => throw new FormatException($"the element type {type} is not supported"),
    };

    /// <summary>Whether values have a fraction, so that they may be kept in another such type.</summary>
    public static bool IsFloating(string type) => type is "F64" or "F32" or "F16" or "BF16";

    /// <summary>Number of elements of a shape; 1 for a scalar.</summary>
    public static long Elements(IEnumerable<long> shape) => shape.Aggregate(1L, (product, d) => checked(product * d));
}

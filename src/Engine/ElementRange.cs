namespace DeepSpeedSharp.Engine;

/// <summary>Elements of a flat buffer that follow each other.</summary>
/// <param name="Start">The first one.</param>
/// <param name="Length">How many; may be 0.</param>
internal readonly record struct ElementRange(long Start, long Length)
{
    /// <summary>The element after the last.</summary>
    public long End => Start + Length;

    /// <summary>What two ranges have in common; of length 0 when that is nothing.</summary>
    public ElementRange Intersect(ElementRange other)
    {
        long start = Math.Max(Start, other.Start);
        return new ElementRange(start, Math.Max(0, Math.Min(End, other.End) - start));
    }

    /// <summary>The same elements, counted from another origin.</summary>
    public ElementRange From(long origin) => new(Start - origin, Length);
}

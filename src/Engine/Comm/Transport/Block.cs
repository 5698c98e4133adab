namespace DeepSpeedSharp.Engine.Comm.Transport;

/// <summary>Bytes outside the managed heap, usually a tensor's; may be larger than a span. Whoever makes it keeps them alive.</summary>
/// <param name="start">The first byte.</param>
/// <param name="length">Their number.</param>
internal readonly unsafe struct Block(byte* start, long length)
{
    /// <summary>The first byte.</summary>
    public byte* Start => start;

    /// <summary>Number of bytes.</summary>
    public long Length => length;

    /// <summary>A part of it.</summary>
    public Block Slice(long from, long count) => new(start + from, count);

    /// <summary>As much of it from a place on as a span should hold.</summary>
    /// <param name="from">Where to start.</param>
    /// <param name="most">Largest number of bytes.</param>
    public Span<byte> Span(long from = 0, int most = int.MaxValue) => new(start + from, (int)Math.Min(most, length - from));

    /// <summary>Copies it, in the memory order of both; they must not overlap.</summary>
    public void CopyTo(Block other) => Buffer.MemoryCopy(start, other.Start, other.Length, length);
}

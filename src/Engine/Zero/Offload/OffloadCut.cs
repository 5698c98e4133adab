namespace DeepSpeedSharp.Engine.Zero;

/// <summary>Which elements of a rank's shard the host updates, and in which pieces. Arithmetic only.</summary>
/// <remarks>The original takes the fraction <c>ratio</c> of each sub-group; here the host has the first elements of the
/// shard and the device the rest, each in one range.</remarks>
/// <param name="Own">Elements of the shard.</param>
/// <param name="Host">The first so many are the host's.</param>
/// <param name="Pieces">The host's elements, cut into sub-groups.</param>
internal sealed record OffloadCut(long Own, long Host, IReadOnlyList<ElementRange> Pieces)
{
    /// <summary>No piece is longer, whatever <c>sub_group_size</c> says: the copy of one piece is to overlap with the update
    /// of the next, and the buffers between them are to be small.</summary>
    public const long LargestPiece = 1 << 25;

    /// <summary>Pieces begin at multiples of this: whole sectors of a disk, 4096 bytes of fp32.</summary>
    public const long Alignment = 1024;

    /// <summary>Elements that the device updates.</summary>
    public long Device => Own - Host;

    /// <summary>Cuts a shard.</summary>
    /// <param name="own">Elements of the shard.</param>
    /// <param name="ratio">Fraction that the host updates, from 0 to 1.</param>
    /// <param name="subGroupSize">Elements of a sub-group; rounded up to <see cref="Alignment"/>.</param>
    public static OffloadCut Of(long own, double ratio, long subGroupSize)
    {
        long host = ratio >= 1 ? own : Math.Min(own, (long)(own * ratio) / Alignment * Alignment);
        long piece = Math.Min(LargestPiece, (Math.Min(subGroupSize, LargestPiece) + Alignment - 1) / Alignment * Alignment);
        return new OffloadCut(own, host, [.. Starts().Select(start => new ElementRange(start, Math.Min(piece, host - start)))]);

        IEnumerable<long> Starts()
        {
            for (long start = 0; start < host; start += piece)
            {
                yield return start;
            }
        }
    }
}

namespace DeepSpeedSharp.Engine.Zero;

/// <summary>The part of a parameter that one rank owns.</summary>
/// <param name="ParameterOffset">First element, counted in the parameter.</param>
/// <param name="ShardOffset">First element, counted in the rank's shard.</param>
/// <param name="Length">Elements; 0 when the rank owns nothing of it.</param>
internal readonly record struct ShardSegment(long ParameterOffset, long ShardOffset, long Length);

/// <summary>Which elements of a flat buffer each rank owns: equal ranges, in the order of ranks. Arithmetic only.</summary>
/// <remarks>
/// Rajbhandari et al., "ZeRO: Memory Optimizations Toward Training Trillion Parameter Models", 2020, section 5. A
/// parameter may lie in the shards of several ranks. Where the original packs parameters without gaps, pads each group
/// to a multiple of 2N elements and cuts it into N, the engine begins every parameter and every shard at a multiple of
/// 128 bytes, for vector loads and NCCL, and cuts all groups together, so that a step has one collective and one range
/// however many groups there are. <see cref="Over"/> makes both, by its alignment.
/// </remarks>
/// <param name="Elements">Length of the flat buffer, a multiple of <paramref name="WorldSize"/>.</param>
/// <param name="WorldSize">Number of ranks.</param>
internal sealed record ShardMap(long Elements, int WorldSize)
{
    /// <summary>What DeepSpeed aligns shards to, in elements.</summary>
    public const long OriginalAlignment = 2;

    /// <summary>Elements of one shard.</summary>
    public long ShardElements => Elements / WorldSize;

    /// <summary>The map of a buffer that is padded until all shards are equal.</summary>
    /// <param name="elements">Elements in use, at least 0.</param>
    /// <param name="worldSize">Number of ranks, at least 1.</param>
    /// <param name="alignment">What the elements of a shard are a multiple of.</param>
    public static ShardMap Over(long elements, int worldSize, long alignment)
    {
        long unit = checked(alignment * worldSize);
        return new ShardMap((elements + unit - 1) / unit * unit, worldSize);
    }

    /// <summary>The order of a group's parameters in the flat buffer.</summary>
    /// <param name="count">Number of parameters.</param>
    /// <param name="worldSize">Number of ranks.</param>
    /// <param name="roundRobin">Deals the parameters to the ranks in turn, so that gradients that become ready one after
    /// the other belong to different ranks (<c>round_robin_gradients</c>); otherwise their own order stays.</param>
    /// <returns>Indices of the parameters.</returns>
    public static IReadOnlyList<int> Order(int count, int worldSize, bool roundRobin) => roundRobin
        ? [.. Enumerable.Range(0, count).OrderBy(i => i % worldSize)] // a stable sort: each rank's keep their order
        : [.. Enumerable.Range(0, count)];

    /// <summary>The elements that a rank owns.</summary>
    public ElementRange RangeOf(int rank) => new(rank * ShardElements, ShardElements);

    /// <summary>The part of a parameter that a rank owns.</summary>
    /// <param name="rank">The rank.</param>
    /// <param name="parameter">Where the parameter is in the flat buffer.</param>
    public ShardSegment SegmentOf(int rank, ElementRange parameter)
    {
        ElementRange shard = RangeOf(rank);
        ElementRange common = parameter.Intersect(shard);
        return common.Length == 0 ? default : new ShardSegment(common.Start - parameter.Start, common.Start - shard.Start, common.Length);
    }

    /// <summary>Cuts a part of the flat buffer by owner.</summary>
    /// <param name="part">Any range of the buffer.</param>
    /// <returns>One range per rank, counted from the start of the part; they follow each other, some may be empty.</returns>
    public IReadOnlyList<ElementRange> Cut(ElementRange part) => [.. Enumerable.Range(0, WorldSize).Select(rank =>
    {
        ElementRange common = part.Intersect(RangeOf(rank));
        return common.Length == 0 ? new ElementRange(0, 0) : common.From(part.Start);
    })];

    /// <summary>Elements between the last one in use and a shard's end that belong to a rank: zeros.</summary>
    /// <param name="rank">The rank.</param>
    /// <param name="used">Elements in use, from the start of the buffer.</param>
    public long PaddingOf(int rank, long used) => ShardElements - RangeOf(rank).Intersect(new ElementRange(0, used)).Length;
}

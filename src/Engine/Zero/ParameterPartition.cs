namespace DeepSpeedSharp.Engine.Zero;

/// <summary>How stage 3 cuts one parameter: into equal parts, one for each rank, the last ones padded. Arithmetic only.</summary>
/// <remarks>
/// Each parameter on its own, so that gathering any of them takes an equal part from every rank. Where the original's
/// parts are ceil(n/N) elements, the engine rounds them up to 128 bytes of fp32, for vector loads and NCCL.
/// Rajbhandari et al., "ZeRO", 2020, section 5.3.
/// </remarks>
/// <param name="Elements">Elements of the parameter; may be 0.</param>
/// <param name="WorldSize">Number of ranks.</param>
/// <param name="PartElements">Elements of one part, padding included.</param>
internal readonly record struct ParameterPartition(long Elements, int WorldSize, long PartElements)
{
    /// <summary>Elements of all parts.</summary>
    public long PaddedElements => PartElements * WorldSize;

    /// <summary>Cuts a parameter.</summary>
    /// <param name="elements">Its elements.</param>
    /// <param name="worldSize">Number of ranks, at least 1.</param>
    /// <param name="alignment">What a part is a multiple of.</param>
    public static ParameterPartition Of(long elements, int worldSize, long alignment)
    {
        long part = (elements + worldSize - 1) / worldSize;
        return new ParameterPartition(elements, worldSize, (part + alignment - 1) / alignment * alignment);
    }

    /// <summary>The elements of the parameter that a rank has; of length 0 when there are none left for it.</summary>
    public ElementRange RangeOf(int rank)
    {
        long start = Math.Min(rank * PartElements, Elements);
        return new ElementRange(start, Math.Min(PartElements, Elements - start));
    }

    /// <summary>The parts in a buffer that holds all of them one after the other.</summary>
    public IReadOnlyList<ElementRange> Parts()
    {
        long part = PartElements;
        return [.. Enumerable.Range(0, WorldSize).Select(rank => new ElementRange(rank * part, part))];
    }

    /// <summary>Which parameters stay gathered: those up to a size, in order, as long as their sum stays below a limit.</summary>
    /// <param name="elements">Elements of each parameter.</param>
    /// <param name="largest"><c>stage3_param_persistence_threshold</c>.</param>
    /// <param name="total"><c>stage3_model_persistence_threshold</c>.</param>
    public static IReadOnlyList<bool> Persistent(IReadOnlyList<long> elements, long largest, long total)
    {
        long sum = 0;
        return [.. elements.Select(n =>
        {
            bool stays = n <= largest && sum + n <= total;
            sum += stays ? n : 0;
            return stays;
        })];
    }
}

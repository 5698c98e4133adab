namespace DeepSpeedSharp.Engine.Data;

/// <summary>Says which samples a rank reads for each micro batch.</summary>
/// <remarks>
/// A pure function of the number of the micro batch, so a resumed run goes on exactly. Two orders exist:
/// <see cref="EpochSampler"/>, which ends each pass over the data as DeepSpeed's own loader does, and
/// <see cref="ContinuousSampler"/>, which goes on without a seam.
/// </remarks>
public abstract class BatchSampler
{
    private protected BatchSampler(long count, int microBatchSize, int rank, int worldSize)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(count, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(microBatchSize, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(worldSize, 1);
        ArgumentOutOfRangeException.ThrowIfNegative(rank);
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(rank, worldSize);
        (Count, MicroBatchSize, Rank, WorldSize) = (count, microBatchSize, rank, worldSize);
    }

    /// <summary>Number of samples.</summary>
    public long Count { get; }

    /// <summary>Samples per micro batch; the last one of a pass may have fewer.</summary>
    public int MicroBatchSize { get; }

    /// <summary>This rank.</summary>
    public int Rank { get; }

    /// <summary>Number of ranks that share the data.</summary>
    public int WorldSize { get; }

    /// <summary>Micro batches of this rank in one pass over the data.</summary>
    public abstract long BatchesPerEpoch { get; }

    /// <summary>The samples of a micro batch.</summary>
    /// <param name="position">Number of the micro batch, from 0, counted over the whole run.</param>
    /// <returns>Indices of samples.</returns>
    public abstract long[] Indices(long position);

    /// <summary>Where the ranks stand when each has read a number of micro batches.</summary>
    /// <param name="position">Number of the next micro batch.</param>
    /// <returns>A place that another world size understands.</returns>
    public abstract DataPlace PlaceOf(long position);

    /// <summary>The micro batch to go on with; the inverse of <see cref="PlaceOf"/>.</summary>
    /// <param name="place">A place, possibly of a run with other sizes. When it is inside a micro batch of these
    /// sizes, that micro batch is read again, so that no sample is left out.</param>
    /// <returns>Number of the next micro batch.</returns>
    public abstract long PositionOf(DataPlace place);

    /// <summary>Samples that all ranks together read for one micro batch each.</summary>
    private protected long SamplesPerRound => (long)MicroBatchSize * WorldSize;
}

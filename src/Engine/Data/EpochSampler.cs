namespace DeepSpeedSharp.Engine.Data;

/// <summary>Reads the data epoch by epoch, as DeepSpeed's own loader does: every rank reads equally many samples, and
/// an epoch ends with a smaller micro batch or without the rest.</summary>
/// <remarks>
/// The samples, shuffled when there is a seed, are repeated from their start until they divide by the ranks; rank r of
/// W then takes the places r, r+W, r+2W and so on. Unlike the original, whose epoch is never told to its sampler, each
/// epoch has an order of its own.
/// </remarks>
/// <param name="count">Number of samples, at least 1.</param>
/// <param name="microBatchSize">Samples per micro batch.</param>
/// <param name="rank">This rank (r).</param>
/// <param name="worldSize">Number of ranks (W).</param>
/// <param name="shuffleSeed">Seed of the order; null reads in order.</param>
/// <param name="dropLast">Leave out a micro batch that is not full (<c>dataloader_drop_last</c>).</param>
public sealed class EpochSampler(
    long count, int microBatchSize, int rank, int worldSize, long? shuffleSeed, bool dropLast = false)
    : BatchSampler(count, microBatchSize, rank, worldSize)
{
    private readonly SampleOrder _order = new(count, shuffleSeed);

    /// <summary>Samples that each rank reads in an epoch.</summary>
    public long SamplesPerRank => (Count + WorldSize - 1) / WorldSize;

    /// <summary>Micro batches of each rank in an epoch; 0 when not even one is full and the rest is left out.</summary>
    public override long BatchesPerEpoch =>
        dropLast ? SamplesPerRank / MicroBatchSize : (SamplesPerRank + MicroBatchSize - 1) / MicroBatchSize;

    /// <inheritdoc/>
    /// <exception cref="InvalidOperationException">There is no full micro batch, and the rest is left out.</exception>
    public override long[] Indices(long position)
    {
        (long epoch, long batch) = Math.DivRem(position, AtLeastOneBatch());
        long first = batch * MicroBatchSize; // of this rank's samples
        var indices = new long[Math.Min(MicroBatchSize, SamplesPerRank - first)];
        for (int j = 0; j < indices.Length; j++)
        {
            indices[j] = _order.At(epoch, ((first + j) * WorldSize + Rank) % Count);
        }

        return indices;
    }

    /// <inheritdoc/>
    public override DataPlace PlaceOf(long position)
    {
        (long epoch, long batch) = Math.DivRem(position, AtLeastOneBatch());
        return new DataPlace(epoch, batch * SamplesPerRound);
    }

    /// <inheritdoc/>
    public override long PositionOf(DataPlace place) =>
        place.Epoch * AtLeastOneBatch() + Math.Min(place.Samples / SamplesPerRound, BatchesPerEpoch);

    private long AtLeastOneBatch() => BatchesPerEpoch > 0 ? BatchesPerEpoch : throw new InvalidOperationException(
        $"{Count} samples over {WorldSize} ranks are {SamplesPerRank} each, less than one micro batch of "
        + $"{MicroBatchSize}, and incomplete ones are dropped; use a smaller micro batch, or set "
        + "\"dataloader_drop_last\" to false");
}

namespace DeepSpeedSharp.Engine.Data;

/// <summary>Reads the data round and round without a seam: every micro batch is full, and none is repeated to fill up.</summary>
/// <remarks>
/// Rank r of W reads for micro batch i the samples (i*W + r)*m to (i*W + r)*m + m-1, modulo the number of samples.
/// With a seed, each pass over the data has an order of its own.
/// </remarks>
/// <param name="count">Number of samples, at least 1.</param>
/// <param name="microBatchSize">Samples per micro batch (m).</param>
/// <param name="rank">This rank (r).</param>
/// <param name="worldSize">Number of ranks (W).</param>
/// <param name="shuffleSeed">Seed of the order; null reads in order.</param>
public sealed class ContinuousSampler(long count, int microBatchSize, int rank, int worldSize, long? shuffleSeed)
    : BatchSampler(count, microBatchSize, rank, worldSize)
{
    private readonly SampleOrder _order = new(count, shuffleSeed);

    /// <summary>Micro batches of this rank until the ranks together have read every sample; the last of them may
    /// already begin the next pass.</summary>
    public override long BatchesPerEpoch => (Count + SamplesPerRound - 1) / SamplesPerRound;

    /// <inheritdoc/>
    public override long[] Indices(long position)
    {
        var indices = new long[MicroBatchSize];
        long first = (position * WorldSize + Rank) * MicroBatchSize;
        for (int j = 0; j < indices.Length; j++)
        {
            (long epoch, long place) = Math.DivRem(first + j, Count);
            indices[j] = _order.At(epoch, place);
        }

        return indices;
    }

    /// <inheritdoc/>
    public override DataPlace PlaceOf(long position)
    {
        (long epoch, long samples) = Math.DivRem(position * SamplesPerRound, Count);
        return new DataPlace(epoch, samples);
    }

    /// <inheritdoc/>
    public override long PositionOf(DataPlace place) => (place.Epoch * Count + place.Samples) / SamplesPerRound;
}

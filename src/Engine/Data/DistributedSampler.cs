namespace DeepSpeedSharp.Engine.Data;

/// <summary>Says which samples a rank reads for a micro batch. A pure function, so a resumed run goes on exactly.</summary>
/// <remarks>
/// Rank r of W reads for micro batch i the samples (i*W + r)*m to (i*W + r)*m + m-1, modulo the number of samples.
/// With a seed, each pass over the data has an order of its own.
/// </remarks>
/// <param name="count">Number of samples, at least 1.</param>
/// <param name="microBatchSize">Samples per micro batch (m).</param>
/// <param name="rank">This rank (r).</param>
/// <param name="worldSize">Number of ranks (W).</param>
/// <param name="shuffleSeed">Seed of the order; null reads in order.</param>
public sealed class DistributedSampler(long count, int microBatchSize, int rank, int worldSize, long? shuffleSeed)
{
    private (long Epoch, long[] Order) _shuffled = (-1, []);

    /// <summary>The samples of a micro batch.</summary>
    /// <param name="microStep">Number of the micro batch, from 0, counted over the whole run.</param>
    /// <returns>Indices of samples.</returns>
    public long[] Indices(long microStep)
    {
        var indices = new long[microBatchSize];
        for (int j = 0; j < microBatchSize; j++)
        {
            long position = (microStep * worldSize + rank) * microBatchSize + j;
            (long epoch, long within) = (position / count, position % count);
            indices[j] = shuffleSeed is { } seed ? OrderOf(epoch, seed)[within] : within;
        }

        return indices;
    }

    // Fisher and Yates's shuffle, seeded by pass; only the current pass is kept.
    private long[] OrderOf(long epoch, long seed)
    {
        if (_shuffled.Epoch == epoch)
        {
            return _shuffled.Order;
        }

        var order = new long[count];
        ulong state = unchecked((ulong)seed * 0x9E3779B97F4A7C15UL + (ulong)epoch);
        for (long i = 0; i < count; i++)
        {
            order[i] = i;
        }

        for (long i = count - 1; i > 0; i--)
        {
            long other = (long)(NextRandom(ref state) % (ulong)(i + 1));
            (order[i], order[other]) = (order[other], order[i]);
        }

        _shuffled = (epoch, order);
        return order;
    }

    // SplitMix64 (Steele, Lea and Flood, 2014): the same order on every machine and runtime version.
    private static ulong NextRandom(ref ulong state)
    {
        state += 0x9E3779B97F4A7C15UL;
        ulong z = state;
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9UL;
        z = (z ^ (z >> 27)) * 0x94D049BB133111EBUL;
        return z ^ (z >> 31);
    }
}

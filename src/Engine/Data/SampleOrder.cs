namespace DeepSpeedSharp.Engine.Data;

/// <summary>The order of the samples in each pass over the data; the same on every rank and machine.</summary>
/// <param name="count">Number of samples.</param>
/// <param name="seed">Seed of the order; null keeps the samples' own order.</param>
internal sealed class SampleOrder(long count, long? seed)
{
    private (long Epoch, long[] Order) _shuffled = (-1, []);

    /// <summary>The sample at a place of a pass.</summary>
    public long At(long epoch, long place) => seed is { } s ? OrderOf(epoch, s)[place] : place;

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

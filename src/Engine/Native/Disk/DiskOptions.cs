namespace DeepSpeedSharp.Engine.Native.Disk;

/// <summary>How transfers are cut up and kept going: the <c>aio</c> section.</summary>
/// <param name="BlockBytes">Bytes of one request, a multiple of 4096.</param>
/// <param name="QueueDepth">Requests in flight of each thread.</param>
/// <param name="Threads">Threads that share a transfer.</param>
/// <param name="SubmitsSingly">Hands requests to the kernel one by one.</param>
/// <param name="Overlaps">Replaces each request that has ended at once; otherwise waits for a whole batch.</param>
internal readonly record struct DiskOptions(int BlockBytes, int QueueDepth, int Threads, bool SubmitsSingly, bool Overlaps)
{
    /// <summary>What direct transfers begin and end at multiples of.</summary>
    public const int Sector = 4096;

    /// <summary>Options with the block rounded up to whole sectors.</summary>
    public static DiskOptions Of(int blockBytes, int queueDepth, int threads, bool submitsSingly, bool overlaps) => new(
        (int)Math.Min(1L << 30, ((long)blockBytes + Sector - 1) / Sector * Sector), Math.Clamp(queueDepth, 1, 4096), Math.Clamp(threads, 1, 64),
        submitsSingly, overlaps);
}

namespace DeepSpeedSharp.Engine.Native.Disk;

/// <summary>Chooses how transfers are made on this machine.</summary>
internal static class DiskQueues
{
    /// <summary>io_uring where the kernel has and allows it, threads otherwise.</summary>
    /// <param name="options">How to cut up transfers.</param>
    /// <returns>The queue, and why it is not io_uring; null when it is.</returns>
    public static (IDiskQueue Queue, string? Reason) Open(DiskOptions options)
    {
        try
        {
            return (new UringQueue(options), null);
        }
        catch (NotSupportedException e)
        {
            return (new ThreadedQueue(options), e.Message);
        }
    }
}

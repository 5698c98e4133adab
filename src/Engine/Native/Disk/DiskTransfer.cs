namespace DeepSpeedSharp.Engine.Native.Disk;

/// <summary>Bytes on their way between memory and a file.</summary>
/// <remarks>The memory belongs to the transfer until <see cref="Wait"/> has returned.</remarks>
/// <param name="file">The file.</param>
/// <param name="isWrite">Whether bytes go to the file.</param>
/// <param name="offset">First byte in the file.</param>
/// <param name="address">Where the memory is.</param>
/// <param name="bytes">How many.</param>
/// <param name="parts">Parts that end on their own.</param>
internal sealed class DiskTransfer(DirectFile file, bool isWrite, long offset, nint address, long bytes, int parts)
{
    // A disk that answers no request for so long will not.
    private static readonly TimeSpan Limit = TimeSpan.FromMinutes(10);

    private readonly TaskCompletionSource _end = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private int _left = parts;
    private Exception? _error;

    public DirectFile File => file;

    public bool IsWrite => isWrite;

    public long Offset => offset;

    public nint Address => address;

    public long Bytes => bytes;

    /// <summary>Waits for the end.</summary>
    /// <exception cref="IOException">It failed, or the disk does not answer; the file's name is in the message.</exception>
    public void Wait()
    {
        if (!_end.Task.Wait(Limit))
        {
            throw new IOException($"{What} has not ended after {Limit.TotalMinutes} minutes; look at the disk");
        }

        if (_error is { } error)
        {
            throw new IOException($"{What} failed: {error.Message}"
                + (isWrite ? "; free space on it, or give zero_optimization's nvme_path another disk, and go on from the last checkpoint" : ""), error);
        }
    }

    /// <summary>Tells that a part has ended.</summary>
    internal void EndPart(Exception? error)
    {
        if (error is not null)
        {
            Interlocked.CompareExchange(ref _error, error, null);
        }

        if (Interlocked.Decrement(ref _left) == 0)
        {
            _end.SetResult();
        }
    }

    private string What => $"{(isWrite ? "writing" : "reading")} {bytes} bytes at {offset} of {file.Path}";
}

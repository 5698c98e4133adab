using System.Collections.Concurrent;

namespace DeepSpeedSharp.Engine.Native.Disk;

/// <summary>Threads that read and write one block after the other: the plain way, which io_uring is compared with, and what
/// serves where the kernel or a container does not allow that.</summary>
internal sealed class ThreadedQueue : IDiskQueue
{
    // Each request needs a thread of its own to be in flight; more than this is no faster.
    private const int MostThreads = 32;

    private readonly DiskOptions _options;
    private readonly BlockingCollection<(DiskTransfer Transfer, long Start, int Length)> _blocks = [];
    private readonly Thread[] _threads;

    public ThreadedQueue(DiskOptions options)
    {
        _options = options;
        _threads = [.. Enumerable.Range(0, Math.Min(MostThreads, options.Threads * options.QueueDepth)).Select(i =>
        {
            var thread = new Thread(Work) { IsBackground = true, Name = $"disk {i}" };
            thread.Start();
            return thread;
        })];
    }

    public string Name => $"{_threads.Length} threads";

    public DiskTransfer Start(DirectFile file, bool isWrite, long offset, nint address, long bytes)
    {
        long blocks = (bytes + _options.BlockBytes - 1) / _options.BlockBytes;
        var transfer = new DiskTransfer(file, isWrite, offset, address, bytes, checked((int)Math.Max(1, blocks)));
        if (blocks == 0)
        {
            transfer.EndPart(null);
        }

        for (long i = 0; i < blocks; i++)
        {
            long start = i * _options.BlockBytes;
            _blocks.Add((transfer, start, (int)Math.Min(_options.BlockBytes, bytes - start)));
        }

        return transfer;
    }

    public void Dispose()
    {
        _blocks.CompleteAdding();
        Array.ForEach(_threads, thread => thread.Join());
        _blocks.Dispose();
    }

    private void Work()
    {
        foreach ((DiskTransfer transfer, long start, int length) in _blocks.GetConsumingEnumerable())
        {
            Exception? error = null;
            try
            {
                Move(transfer, start, length);
            }
#pragma warning disable CA1031 // whoever waits for the transfer gets it
            catch (Exception e)
#pragma warning restore CA1031
            {
                error = e;
            }

            transfer.EndPart(error);
        }
    }

    private static unsafe void Move(DiskTransfer transfer, long start, int length)
    {
        var memory = new Span<byte>((byte*)transfer.Address + start, length);
        if (transfer.IsWrite)
        {
            RandomAccess.Write(transfer.File.Handle, memory, transfer.Offset + start);
            return;
        }

        for (int done = 0; done < length;)
        {
            int read = RandomAccess.Read(transfer.File.Handle, memory[done..], transfer.Offset + start + done);
            done += read > 0 ? read : throw new EndOfStreamException("the file has become shorter");
        }
    }
}

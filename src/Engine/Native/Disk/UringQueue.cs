using System.Collections.Concurrent;
using System.Runtime.InteropServices;

namespace DeepSpeedSharp.Engine.Native.Disk;

/// <summary>Transfers through io_uring: each thread keeps a ring of requests full.</summary>
internal sealed class UringQueue : IDiskQueue
{
    private const int Interrupted = -4, TryAgain = -11;

    private readonly record struct Part(DiskTransfer Transfer, long Start, long Length);

    private readonly record struct Request(long Start, int Length); // counted in the transfer

    private readonly DiskOptions _options;
    private readonly BlockingCollection<Part> _parts = [];
    private readonly Thread[] _threads;

    /// <param name="options">How to cut up transfers.</param>
    /// <exception cref="NotSupportedException">This kernel, or this container, has no io_uring.</exception>
    public UringQueue(DiskOptions options)
    {
        _options = options;
        var rings = new List<IoUring>();
        try
        {
            while (rings.Count < options.Threads)
            {
                rings.Add(new IoUring(options.QueueDepth));
            }
        }
        catch
        {
            rings.ForEach(ring => ring.Dispose());
            throw;
        }

        _threads = [.. rings.Select((ring, i) =>
        {
            var thread = new Thread(() => Work(ring)) { IsBackground = true, Name = $"disk {i}" };
            thread.Start();
            return thread;
        })];
    }

    public string Name => "io_uring";

    public DiskTransfer Start(DirectFile file, bool isWrite, long offset, nint address, long bytes)
    {
        long blocks = (bytes + _options.BlockBytes - 1) / _options.BlockBytes;
        int parts = (int)Math.Clamp(blocks, 1, _threads.Length);
        var transfer = new DiskTransfer(file, isWrite, offset, address, bytes, parts);
        long length = (blocks + parts - 1) / parts * _options.BlockBytes;
        for (long i = 0; i < parts; i++)
        {
            long start = Math.Min(bytes, i * length);
            _parts.Add(new Part(transfer, start, Math.Min(length, bytes - start)));
        }

        return transfer;
    }

    public void Dispose()
    {
        _parts.CompleteAdding();
        Array.ForEach(_threads, thread => thread.Join());
        _parts.Dispose();
    }

    private void Work(IoUring ring)
    {
        using (ring)
        {
            var requests = new Request[_options.QueueDepth];
            var free = new Stack<int>(Enumerable.Range(0, requests.Length));
            foreach (Part part in _parts.GetConsumingEnumerable())
            {
                Exception? error = null;
                try
                {
                    error = Move(ring, part, requests, free);
                }
#pragma warning disable CA1031 // whoever waits for the transfer gets it
                catch (Exception e)
#pragma warning restore CA1031
                {
                    error = e;
                }

                part.Transfer.EndPart(error);
            }
        }
    }

    // Returns with no request in flight, also after an error: the kernel writes to the memory until then.
    private IOException? Move(IoUring ring, Part part, Request[] requests, Stack<int> free)
    {
        IOException? error = null;
        long next = part.Start, end = part.Start + part.Length;
        int inFlight = 0, prepared = 0;
        while ((next < end && error is null) || inFlight > 0)
        {
            while (next < end && error is null && free.Count > 0)
            {
                int length = (int)Math.Min(_options.BlockBytes, end - next);
                Send(new Request(next, length));
                next += length;
            }

            ring.Submit(prepared, _options.Overlaps ? 1 : inFlight);
            prepared = 0;
            while (ring.TryTake(out ulong tag, out int result))
            {
                inFlight--;
                free.Push((int)tag);
                Request request = requests[tag];
                if (result is Interrupted or TryAgain || (result > 0 && result < request.Length))
                {
                    int moved = Math.Max(0, result);
                    Send(new Request(request.Start + moved, request.Length - moved));
                }
                else if (result <= 0)
                {
                    error ??= new IOException(result == 0 ? "the file has become shorter, or the disk is full" : Marshal.GetPInvokeErrorMessage(-result));
                }
            }
        }

        return error;

        void Send(Request request)
        {
            int slot = free.Pop();
            requests[slot] = request;
            ring.Prepare(part.Transfer.IsWrite, (int)part.Transfer.File.Handle.DangerousGetHandle(), part.Transfer.Offset + request.Start,
                part.Transfer.Address + (nint)request.Start, request.Length, (ulong)slot);
            inFlight++;
            prepared++;
            if (_options.SubmitsSingly)
            {
                ring.Submit(prepared, 0);
                prepared = 0;
            }
        }
    }
}

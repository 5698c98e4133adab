using DeepSpeedSharp.Engine.Comm.Transport;

namespace DeepSpeedSharp.Engine.Comm;

/// <summary>Messages from one rank. A message goes to the first receive that waits for its tag; one that nobody waits for is
/// kept until somebody does.</summary>
/// <remarks>Messages are read only while a receive waits, so a sender that is far ahead waits for room in the link. What is kept
/// are messages of other tags that were sent before the one that is waited for.</remarks>
/// <param name="links">Links that only messages use.</param>
/// <param name="peer">The sender.</param>
/// <param name="name">Of the thread that reads for asynchronous receives.</param>
internal sealed class Inbox(Links links, int peer, string name) : IDisposable
{
    private readonly Lock _lock = new();
    private readonly CollectiveQueue _readers = new(name);
    private readonly List<Expected> _expected = [];
    private readonly List<(MessageHeader Header, byte[] Bytes)> _early = [];

    /// <summary>Starts receiving.</summary>
    /// <param name="piece">Where the message goes.</param>
    /// <param name="tag">The sender's.</param>
    /// <param name="what">For messages.</param>
    /// <param name="now">Whether the caller waits at once.</param>
    /// <param name="onEnd">Called when it has come.</param>
    public Work Receive(Piece piece, int tag, string what, bool now, Action onEnd)
    {
        var expected = new Expected(piece, tag, $"Receive of {what} from rank {links.Watch.Ranks[peer]}, tag {tag}", onEnd);
        lock (_lock)
        {
            _expected.Add(expected);
        }

        // Whoever reads reads for all that wait, until its own has come.
        if (now)
        {
            _readers.Run(() => ReadUntil(expected));
            expected.Done.Task.GetAwaiter().GetResult();
            return Work.Done;
        }

        _ = _readers.Start(() => ReadUntil(expected)).ContinueWith(reading => expected.Done.TrySetException(reading.Exception!.InnerException!),
            CancellationToken.None, TaskContinuationOptions.OnlyOnFaulted, TaskScheduler.Default);
        return new Work(expected.Done.Task);
    }

    public void Dispose() => _readers.Dispose();

    private void ReadUntil(Expected expected)
    {
        TakeEarly(expected);
        while (!expected.Done.Task.IsCompleted)
        {
            links.Watch.ThrowIfAborted(expected.Operation);
            MessageHeader header = ReadHeader(expected.Operation);
            Expected? taker;
            lock (_lock)
            {
                taker = _expected.Find(one => one.Tag == header.Tag);
                if (taker is not null)
                {
                    _expected.Remove(taker);
                }
            }

            if (taker is null || !taker.Fits(header))
            {
                // Read in any case: the next message stands behind it.
                byte[] bytes = Keep(header, expected.Operation);
                if (taker is null)
                {
                    _early.Add((header, bytes));
                }
                else
                {
                    taker.Refuse(header, links.Watch.Ranks[peer]);
                }

                continue;
            }

            using Staging staging = Staging.Of(taker.Piece, true, false);
            links.Exchange(peer, default, peer, staging.Inputs[0], taker.Operation);
            staging.CopyBack();
            taker.Complete();
        }
    }

    // Only the one that reads touches the early ones.
    private void TakeEarly(Expected expected)
    {
        int index = expected.Done.Task.IsCompleted ? -1 : _early.FindIndex(one => one.Header.Tag == expected.Tag);
        if (index < 0)
        {
            return;
        }

        (MessageHeader header, byte[] bytes) = _early[index];
        _early.RemoveAt(index);
        lock (_lock)
        {
            _expected.Remove(expected);
        }

        if (!expected.Fits(header))
        {
            expected.Refuse(header, links.Watch.Ranks[peer]);
            return;
        }

        using Staging staging = Staging.Of(expected.Piece, true, false);
        bytes.CopyTo(staging.Inputs[0].Span());
        staging.CopyBack();
        expected.Complete();
    }

    private unsafe MessageHeader ReadHeader(string operation)
    {
        MessageHeader header;
        links.Exchange(peer, default, peer, new Block((byte*)&header, sizeof(MessageHeader)), operation);
        return header;
    }

    private unsafe byte[] Keep(MessageHeader header, string operation)
    {
        byte[] bytes = new byte[header.Bytes];
        fixed (byte* start = bytes)
        {
            links.Exchange(peer, default, peer, new Block(start, bytes.Length), operation);
        }

        return bytes;
    }

    private sealed class Expected(Piece piece, int tag, string operation, Action onEnd)
    {
        public Piece Piece => piece;

        public int Tag => tag;

        public string Operation => operation;

        public TaskCompletionSource Done { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);

        public bool Fits(MessageHeader header) =>
            header.ElementType == piece.Tensor.dtype && header.Bytes == piece.Length * piece.Tensor.element_size();

        public void Complete()
        {
            onEnd();
            Done.TrySetResult();
        }

        public void Refuse(MessageHeader header, int sender) => Done.TrySetException(new CollectiveMismatchException(
            $"{operation}: rank {sender} has sent {header.Bytes} bytes of {header.ElementType}, the tensor that receives has "
            + $"{piece.Length * piece.Tensor.element_size()} bytes of {piece.Tensor.dtype}"));
    }
}

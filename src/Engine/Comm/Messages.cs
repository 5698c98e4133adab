using DeepSpeedSharp.Engine.Comm.Recording;
using DeepSpeedSharp.Engine.Comm.Transport;
using TorchSharp;

namespace DeepSpeedSharp.Engine.Comm;

/// <summary>Sends and receives between two ranks. They have links of their own, so that they need no place in the order of
/// collectives, and per rank one queue in each direction, so that two ranks may send to each other at the same time.</summary>
/// <param name="links">Links that only messages use.</param>
/// <param name="group">The group's name, for threads.</param>
/// <param name="flight">Notes what was called.</param>
internal sealed class Messages(Links links, string group, FlightGroup? flight) : IDisposable
{
    private readonly Lock _lock = new();
    private readonly CollectiveQueue?[] _outgoing = new CollectiveQueue?[links.WorldSize];
    private readonly Inbox?[] _incoming = new Inbox?[links.WorldSize];
    private bool _disposed;

    /// <summary>Starts sending.</summary>
    public Work Send(Piece piece, int peer, int tag, string name, bool now)
    {
        CollectiveQueue queue;
        lock (_lock)
        {
            ObjectDisposedException.ThrowIf(_disposed, this);
            queue = _outgoing[peer] ??= new CollectiveQueue($"messages of {group} to rank {peer}");
        }

        string operation = $"Send of {name} to rank {links.Watch.Ranks[peer]}, tag {tag}";
        long token = flight?.RecordPeer("Send", name, piece.Length * piece.Tensor.element_size(), piece.Tensor.dtype, links.Watch.Ranks[peer]) ?? 0;
        if (!now)
        {
            return new Work(queue.Start(SendNow));
        }

        queue.Run(SendNow);
        return Work.Done;

        unsafe void SendNow()
        {
            links.Watch.ThrowIfAborted(operation);
            using Staging staging = Staging.Of(piece, false, true);
            var header = new MessageHeader(tag, (int)piece.Tensor.dtype, staging.Inputs[0].Length);
            links.Exchange(peer, new Block((byte*)&header, sizeof(MessageHeader)), peer, default, operation);
            links.Exchange(peer, staging.Inputs[0], peer, default, operation);
            flight?.RecordEnd(token);
        }
    }

    /// <summary>Starts receiving.</summary>
    public Work Receive(Piece piece, int peer, int tag, string name, bool now)
    {
        Inbox inbox;
        lock (_lock)
        {
            ObjectDisposedException.ThrowIf(_disposed, this);
            inbox = _incoming[peer] ??= new Inbox(links, peer, $"messages of {group} from rank {peer}");
        }

        long token = flight?.RecordPeer("Receive", name, piece.Length * piece.Tensor.element_size(), piece.Tensor.dtype, links.Watch.Ranks[peer]) ?? 0;
        return inbox.Receive(piece, tag, name, now, () => flight?.RecordEnd(token));
    }

    public void Dispose()
    {
        lock (_lock)
        {
            _disposed = true;
        }

        Array.ForEach(_outgoing, queue => queue?.Dispose());
        Array.ForEach(_incoming, inbox => inbox?.Dispose());
    }
}

/// <summary>What stands before a message.</summary>
/// <param name="Tag">The sender's.</param>
/// <param name="Type">Element type.</param>
/// <param name="Bytes">Length of what follows.</param>
internal readonly record struct MessageHeader(int Tag, int Type, long Bytes)
{
    /// <summary>The type in words.</summary>
    public torch.ScalarType ElementType => (torch.ScalarType)Type;
}

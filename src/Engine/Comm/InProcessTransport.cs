using System.Threading.Channels;

namespace DeepSpeedSharp.Engine.Comm;

/// <summary>A ring of ranks inside one process, for tests of algorithms with many ranks.</summary>
internal sealed class InProcessTransport : ITransport
{
    private readonly Channel<byte[]> _left;
    private readonly Channel<byte[]> _right;
    private byte[] _unread = [];

    private InProcessTransport(int rank, IReadOnlyList<Channel<byte[]>> links)
    {
        (Rank, WorldSize) = (rank, links.Count);
        (_left, _right) = (links[(rank + links.Count - 1) % links.Count], links[rank]);
    }

    public int Rank { get; }

    public int WorldSize { get; }

    /// <summary>Makes all ranks of a ring.</summary>
    public static IReadOnlyList<InProcessTransport> CreateRing(int worldSize)
    {
        Channel<byte[]>[] links = [.. Enumerable.Range(0, worldSize).Select(_ => Channel.CreateUnbounded<byte[]>())];
        return [.. Enumerable.Range(0, worldSize).Select(rank => new InProcessTransport(rank, links))];
    }

    public async Task ShiftAsync(ReadOnlyMemory<byte> send, Memory<byte> receive, string operation)
    {
        if (send.Length > 0 && !_right.Writer.TryWrite(send.ToArray()))
        {
            throw Lost((Rank + 1) % WorldSize, operation);
        }

        for (int filled = 0; filled < receive.Length;)
        {
            if (_unread.Length == 0)
            {
                try
                {
                    _unread = await _left.Reader.ReadAsync().ConfigureAwait(false);
                }
                catch (ChannelClosedException)
                {
                    throw Lost((Rank + WorldSize - 1) % WorldSize, operation);
                }
            }

            int taken = Math.Min(_unread.Length, receive.Length - filled);
            _unread.AsMemory(0, taken).CopyTo(receive[filled..]);
            (_unread, filled) = (_unread[taken..], filled + taken);
        }
    }

    public void Dispose()
    {
        _left.Writer.TryComplete();
        _right.Writer.TryComplete();
    }

    private PeerLostException Lost(int rank, string operation) =>
        new(rank, $"{operation}, rank {Rank}: rank {rank} has left the ring");
}

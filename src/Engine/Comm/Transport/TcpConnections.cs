using System.Buffers.Binary;
using System.Net;
using System.Net.Sockets;
using System.Security.Cryptography;
using System.Text;
using DeepSpeedSharp.Engine.Comm.Store;

namespace DeepSpeedSharp.Engine.Comm.Transport;

/// <summary>Makes the connections between ranks of different hosts: the higher rank connects, the lower accepts. Whoever
/// connects proves that it belongs to this start of the run.</summary>
/// <param name="me">This rank, in the group's numbers.</param>
/// <param name="group">The group's name.</param>
/// <param name="key">Known to the ranks of this start only.</param>
/// <param name="streams">Connections for the collectives of two ranks; messages have one more.</param>
internal sealed class TcpConnections(int me, string group, ReadOnlyMemory<byte> key, int streams) : IDisposable
{
    private const int HelloBytes = 44;

    // Connections that have not proved who they are; others wait for their turn in the kernel.
    private const int LargestCrowd = 256;

    private const uint Magic = 0x4453_5331; // "DSS1"
    private static readonly TimeSpan HelloTimeout = TimeSpan.FromSeconds(5);

    private readonly Lock _lock = new();
    private readonly Dictionary<int, Socket?[]> _sockets = [];
    private readonly Dictionary<int, (Link Collectives, Link Messages)> _links = [];

    /// <summary>The links, when all are there.</summary>
    public IReadOnlyDictionary<int, (Link Collectives, Link Messages)> Links => _links;

    /// <summary>Connections for the collectives of two ranks.</summary>
    public int Streams => streams;

    /// <summary>Ranks that are not completely connected.</summary>
    public IReadOnlyList<int> Missing
    {
        get
        {
            lock (_lock)
            {
                return [.. _sockets.Where(peer => peer.Value.Contains(null)).Select(peer => peer.Key)];
            }
        }
    }

    /// <summary>Connects with all given ranks.</summary>
    /// <param name="listener">Where the higher ones come.</param>
    /// <param name="peers">The ranks.</param>
    /// <param name="endpointOf">Where the lower ones listen.</param>
    /// <param name="cancel">Ends the wait.</param>
    public async Task ConnectAsync(Socket listener, IReadOnlyList<int> peers, Func<int, EndPoint> endpointOf, CancellationToken cancel)
    {
        foreach (int peer in peers)
        {
            _sockets[peer] = new Socket?[streams + 1];
        }

        // When one of the two fails, the other must not go on waiting.
        using var failed = CancellationTokenSource.CreateLinkedTokenSource(cancel);
        await Task.WhenAll(EndOther(AcceptAllAsync(listener, peers.Count(peer => peer > me) * (streams + 1), failed.Token)),
            EndOther(Task.WhenAll(peers.Where(peer => peer < me).Select(peer => ConnectAsync(peer, endpointOf(peer), failed.Token))))).ConfigureAwait(false);
        foreach ((int peer, Socket?[] sockets) in _sockets)
        {
            foreach (Socket? socket in sockets)
            {
                socket!.NoDelay = true;
                socket.Blocking = false;
            }

            _links[peer] = (new TcpLink([.. sockets[..streams]!]), new TcpLink([sockets[streams]!]));
        }

        async Task EndOther(Task task)
        {
            try
            {
                await task.ConfigureAwait(false);
            }
            catch
            {
                await failed.CancelAsync().ConfigureAwait(false);
                throw;
            }
        }
    }

    public void Dispose()
    {
        lock (_lock)
        {
            foreach (Socket? socket in _sockets.Values.SelectMany(sockets => sockets))
            {
                socket?.Dispose();
            }
        }
    }

    private async Task ConnectAsync(int peer, EndPoint endpoint, CancellationToken cancel)
    {
        for (int stream = 0; stream <= streams; stream++)
        {
            Socket socket = await MasterEndpoint.ConnectAsync(endpoint, cancel).ConfigureAwait(false);
            Keep(peer, stream, socket);
            byte[] hello = Hello(me, peer, stream);
            for (int sent = 0; sent < hello.Length;)
            {
                sent += await socket.SendAsync(hello.AsMemory(sent), SocketFlags.None, cancel).ConfigureAwait(false);
            }
        }
    }

    // Each stranger has a few seconds and keeps nobody else waiting.
    private async Task AcceptAllAsync(Socket listener, int expected, CancellationToken cancel)
    {
        using var all = new SemaphoreSlim(0);
        using var ended = CancellationTokenSource.CreateLinkedTokenSource(cancel);
        var greetings = new List<Task>();
        Task accepting = AcceptAsync();
        try
        {
            for (int count = 0; count < expected; count++)
            {
                await all.WaitAsync(cancel).ConfigureAwait(false);
            }
        }
        finally
        {
            await ended.CancelAsync().ConfigureAwait(false);
            await accepting.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            await Task.WhenAll(greetings).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }

        async Task AcceptAsync()
        {
            while (expected > 0)
            {
                greetings.RemoveAll(greeting => greeting.IsCompleted);
                if (greetings.Count >= LargestCrowd)
                {
                    await Task.WhenAny(greetings).ConfigureAwait(false);
                    continue;
                }

                try
                {
                    greetings.Add(GreetAsync(await listener.AcceptAsync(ended.Token).ConfigureAwait(false)));
                }
                catch (SocketException)
                {
                    // It was reset before its turn came, or this process has no descriptor left for the moment.
                    await Task.Delay(MasterEndpoint.RetryPause, ended.Token).ConfigureAwait(false);
                }
            }
        }

        async Task GreetAsync(Socket socket)
        {
            using var limit = CancellationTokenSource.CreateLinkedTokenSource(ended.Token);
            limit.CancelAfter(HelloTimeout);
            byte[] hello = new byte[HelloBytes];
            try
            {
                for (int received = 0; received < HelloBytes;)
                {
                    int count = await socket.ReceiveAsync(hello.AsMemory(received), SocketFlags.None, limit.Token).ConfigureAwait(false);
                    if (count == 0)
                    {
                        break;
                    }

                    received += count;
                }
            }
            catch (Exception e) when (e is SocketException or OperationCanceledException)
            {
                // Not one of us.
            }

            int from = BinaryPrimitives.ReadInt32LittleEndian(hello.AsSpan(4)), stream = BinaryPrimitives.ReadInt32LittleEndian(hello.AsSpan(8));
            bool ours = CryptographicOperations.FixedTimeEquals(hello, Hello(from, me, stream)) && from > me && stream >= 0 && stream <= streams;
            if (ours && Keep(from, stream, socket))
            {
                all.Release();
                return;
            }

            socket.Dispose();
        }
    }

    private bool Keep(int peer, int stream, Socket socket)
    {
        lock (_lock)
        {
            if (!_sockets.TryGetValue(peer, out Socket?[]? sockets) || sockets[stream] is not null)
            {
                return false;
            }

            sockets[stream] = socket;
            return true;
        }
    }

    private byte[] Hello(int from, int to, int stream)
    {
        byte[] hello = new byte[HelloBytes];
        BinaryPrimitives.WriteUInt32LittleEndian(hello, Magic);
        BinaryPrimitives.WriteInt32LittleEndian(hello.AsSpan(4), from);
        BinaryPrimitives.WriteInt32LittleEndian(hello.AsSpan(8), stream);
        byte[] what = Encoding.UTF8.GetBytes($"link/{group}/{from}/{to}/{stream}");
        HMACSHA256.HashData(key.Span, what, hello.AsSpan(12));
        return hello;
    }
}

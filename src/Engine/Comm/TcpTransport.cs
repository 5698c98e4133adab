using System.Net.Sockets;
using DeepSpeedSharp.Engine.Comm.Store;

namespace DeepSpeedSharp.Engine.Comm;

/// <summary>Links to the two neighbours over TCP, one connection in each direction.</summary>
internal sealed class TcpTransport(
    int rank, IReadOnlyList<RankAddress> addresses, Socket left, Socket right, TcpStore store, TimeSpan timeout) : ITransport
{
    // Ends what is under way when the store says that a rank is lost.
    private readonly CancellationTokenSource _lost = CancelledBy(store.Lost);

    public int Rank => rank;

    public int WorldSize => addresses.Count;

    public async Task ShiftAsync(ReadOnlyMemory<byte> send, Memory<byte> receive, string operation)
    {
        using var cancel = CancellationTokenSource.CreateLinkedTokenSource(_lost.Token);
        cancel.CancelAfter(timeout + store.Grace);
        Task sending = SendAsync(send, operation, cancel);
        Task receiving = ReceiveAsync(receive, operation, cancel);
        try
        {
            await Task.WhenAll(sending, receiving).ConfigureAwait(false);
        }
        catch (Exception) when (Cause(sending, receiving) is { } cause)
        {
            throw store.ReportFailure(cause);
        }
    }

    public void Dispose()
    {
        left.Dispose();
        right.Dispose();
        store.Dispose();
    }

    private static CancellationTokenSource CancelledBy(Task lost)
    {
        var source = new CancellationTokenSource();
        _ = lost.ContinueWith(_ => source.Cancel(), CancellationToken.None, TaskContinuationOptions.None, TaskScheduler.Default);
        return source;
    }

    private async Task SendAsync(ReadOnlyMemory<byte> bytes, string operation, CancellationTokenSource cancel)
    {
        int to = (rank + 1) % WorldSize;
        int sent = 0;
        try
        {
            while (sent < bytes.Length)
            {
                sent += await right.SendAsync(bytes[sent..], SocketFlags.None, cancel.Token).ConfigureAwait(false);
            }
        }
        catch (Exception e) when (e is SocketException or OperationCanceledException or ObjectDisposedException)
        {
            throw Lost(to, operation, $"it took {sent} of {bytes.Length} bytes", e, cancel);
        }
    }

    private async Task ReceiveAsync(Memory<byte> bytes, string operation, CancellationTokenSource cancel)
    {
        int from = (rank + WorldSize - 1) % WorldSize;
        int received = 0;
        try
        {
            while (received < bytes.Length)
            {
                int count = await left.ReceiveAsync(bytes[received..], SocketFlags.None, cancel.Token).ConfigureAwait(false);
                if (count == 0)
                {
                    throw new SocketException((int)SocketError.ConnectionReset);
                }

                received += count;
            }
        }
        catch (Exception e) when (e is SocketException or OperationCanceledException or ObjectDisposedException)
        {
            throw Lost(from, operation, $"it sent {received} of {bytes.Length} bytes", e, cancel);
        }
    }

    // The other direction is ended too: waiting for it would hide the cause until its own timeout.
    private Exception Lost(int peer, string operation, string how, Exception e, CancellationTokenSource cancel)
    {
        bool timedOut = e is OperationCanceledException;
        if (timedOut && _ended)
        {
            return e;
        }

        _ended = true;
        cancel.Cancel();
        string reason = timedOut ? $"{how} in {timeout.TotalSeconds:0} s" : $"the connection ended after {how}";
        return new PeerLostException(peer, $"{operation}, rank {rank}: lost rank {peer} at {addresses[peer]}: {reason}; "
            + $"look at the log of rank {peer}" + (timedOut ? ", or raise DEEPSPEED_TIMEOUT (minutes)" : "")
            + ". See docs/operations.md#lost-ranks.", e);
    }

    private volatile bool _ended;

    // Both directions usually fail; the one that failed by itself is the cause, the other was cancelled because of it.
    private static PeerLostException? Cause(Task sending, Task receiving) =>
        (receiving.Exception?.InnerException ?? sending.Exception?.InnerException) as PeerLostException
        ?? sending.Exception?.InnerException as PeerLostException;
}

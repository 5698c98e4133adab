using System.Net;
using System.Net.Sockets;
using DeepSpeedSharp.Config;

namespace DeepSpeedSharp.Engine.Comm.Store;

/// <summary>A rank's side of the handshake with the store.</summary>
internal static class StoreGreeting
{
    /// <summary>Connects and proves that this rank belongs to the run.</summary>
    /// <returns>The connection, and the number that makes the run's session key.</returns>
    /// <exception cref="PeerLostException">Rank 0 turned this rank away, or does not know the secret.</exception>
    /// <exception cref="IOException">Nobody answers there, or something else does; another attempt may succeed.</exception>
    public static async Task<(Socket Socket, byte[] Session)> JoinAsync(
        EndPoint endpoint, WorkerEnvironment place, StoreOptions options, CancellationToken cancel)
    {
        Socket? socket = null;
        try
        {
            using var limit = CancellationTokenSource.CreateLinkedTokenSource(cancel);
            socket = await MasterEndpoint.ConnectAsync(endpoint, cancel).ConfigureAwait(false);
            limit.CancelAfter(options.HandshakeTimeout);
            byte[] session = await ProveAsync(socket, place, options, limit.Token).ConfigureAwait(false);
            return (socket, session);
        }
        catch (OperationCanceledException e) when (!cancel.IsCancellationRequested)
        {
            socket?.Dispose();
            throw new IOException($"it took the connection, but said nothing for {options.HandshakeTimeout.TotalSeconds:0.#} s", e);
        }
        catch (Exception e) when (e is SocketException or InvalidDataException)
        {
            socket?.Dispose();
            throw new IOException(e is SocketException ? e.Message : $"what answers there is not rank 0 of a run: {e.Message}", e);
        }
        catch
        {
            socket?.Dispose();
            throw;
        }
    }

    private static async Task<byte[]> ProveAsync(Socket socket, WorkerEnvironment place, StoreOptions options, CancellationToken cancel)
    {
        StoreHello hello = StoreHello.From(place);
        await SendAsync(socket, FrameKind.Hello, hello.Encode(), cancel).ConfigureAwait(false);
        byte[] challenge = await ReadAsync(socket, FrameKind.Challenge, place, cancel).ConfigureAwait(false);
        byte[] proof = Answer(challenge, hello, place, options);
        await SendAsync(socket, FrameKind.Proof, proof, cancel).ConfigureAwait(false);
        return await ReadAsync(socket, FrameKind.Accepted, place, cancel).ConfigureAwait(false);
    }

    private static byte[] Answer(byte[] challenge, StoreHello hello, WorkerEnvironment place, StoreOptions options)
    {
        var fields = new FieldReader(challenge);
        byte[] nonce = fields.Bytes();
        return StoreProof.Equal(fields.Bytes(), StoreProof.OfServer(options.Secret.Span, hello, nonce))
            ? StoreProof.OfRank(options.Secret.Span, hello, nonce)
            : throw Refused(place, "it does not know the secret of this rank; another job may hold this port, or give all ranks the same DEEPSPEED_SECRET_FILE");
    }

    private static async Task SendAsync(Socket socket, FrameKind kind, byte[] body, CancellationToken cancel)
    {
        ReadOnlyMemory<byte> rest = StoreFrame.Encode(kind, 0, body);
        while (rest.Length > 0)
        {
            rest = rest[await socket.SendAsync(rest, SocketFlags.None, cancel).ConfigureAwait(false)..];
        }
    }

    private static async Task<byte[]> ReadAsync(Socket socket, FrameKind expected, WorkerEnvironment place, CancellationToken cancel)
    {
        byte[] header = await ReceiveAsync(socket, StoreFrame.HeaderBytes, cancel).ConfigureAwait(false);
        byte[] body = await ReceiveAsync(socket, StoreFrame.BodyLength(header, StoreFrame.LongestGreeting), cancel).ConfigureAwait(false);
        return (FrameKind)header[4] switch
        {
            FrameKind.Refused => throw Refused(place, new FieldReader(body).Text()),
            var kind when kind == expected => body,
            var kind => throw new InvalidDataException($"a {kind} where a {expected} was due"),
        };
    }

    private static async Task<byte[]> ReceiveAsync(Socket socket, int length, CancellationToken cancel)
    {
        var bytes = new byte[length];
        for (int received = 0; received < length;)
        {
            int count = await socket.ReceiveAsync(bytes.AsMemory(received), SocketFlags.None, cancel).ConfigureAwait(false);
            received += count > 0 ? count : throw new IOException("it ended the connection during the handshake");
        }

        return bytes;
    }

    private static PeerLostException Refused(WorkerEnvironment place, string why) => new(0,
        $"rendezvous, rank {place.Rank}: rank 0 at {MasterEndpoint.Name(place)} refused: {why}");
}

using System.Net.Sockets;

namespace DeepSpeedSharp.Engine.Comm.Transport;

/// <summary>A link over one or several TCP connections.</summary>
/// <remarks>The stream is dealt to the connections in stripes, so that a long message is on all of them at once: one connection
/// alone does not fill a fast or a far network, and a lost packet holds up one of them only. A short message takes one.</remarks>
/// <param name="sockets">The connections, in the same order at both ends; not blocking.</param>
internal sealed class TcpLink(IReadOnlyList<Socket> sockets) : Link
{
    private const int StripeBytes = 256 << 10;
    private long _sent;
    private long _received;

    public override int TrySend(ReadOnlySpan<byte> bytes)
    {
        int count = sockets[StripeOf(_sent)].Send(bytes[..Math.Min(bytes.Length, LeftOf(_sent))], SocketFlags.None, out SocketError error);
        switch (error)
        {
            case SocketError.Success:
                _sent += count;
                return count;
            case SocketError.WouldBlock or SocketError.NoBufferSpaceAvailable or SocketError.Interrupted:
                return 0;
            default:
                return Closed;
        }
    }

    public override int TryReceive(Span<byte> bytes)
    {
        int count = sockets[StripeOf(_received)].Receive(bytes[..Math.Min(bytes.Length, LeftOf(_received))], SocketFlags.None, out SocketError error);
        switch (error)
        {
            case SocketError.Success when count > 0:
                _received += count;
                return count;
            case SocketError.WouldBlock or SocketError.Interrupted:
                return 0;
            default:
                return Closed;
        }
    }

    public override int DescriptorFor(bool sending) => (int)sockets[StripeOf(sending ? _sent : _received)].SafeHandle.DangerousGetHandle();

    public override void Close()
    {
        foreach (Socket socket in sockets)
        {
            try
            {
                socket.Shutdown(SocketShutdown.Both);
            }
            catch (Exception e) when (e is SocketException or ObjectDisposedException)
            {
                // It is closed already.
            }
        }
    }

    public override void Dispose()
    {
        foreach (Socket socket in sockets)
        {
            socket.Dispose();
        }
    }

    private int StripeOf(long position) => (int)(position / StripeBytes % sockets.Count);

    private static int LeftOf(long position) => (int)(StripeBytes - position % StripeBytes);
}

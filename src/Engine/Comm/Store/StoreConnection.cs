using System.Net;
using System.Net.Sockets;
using System.Security.Cryptography;

namespace DeepSpeedSharp.Engine.Comm.Store;

/// <summary>The store's side of a connection: received frames, and bytes that wait to be sent. Never blocks.</summary>
internal sealed class StoreConnection : IDisposable
{
    // So much is read of one connection before the next one gets its turn.
    private const int Turn = 256 << 10;

    // While so much waits to be sent, no further request is read: whoever asks and does not listen cannot fill the memory.
    private const int LargestBacklog = 32 << 20;

    private readonly FrameBuffer _received = new();
    private readonly Queue<byte[]> _outgoing = new();
    private int _sentOfFirst;
    private long _backlog;

    public StoreConnection(Socket socket, TimeSpan deadline)
    {
        (Socket, Deadline) = (socket, deadline);
        socket.Blocking = false;
        socket.NoDelay = true;
        IPAddress from = ((IPEndPoint)socket.RemoteEndPoint!).Address;
        Address = (from.IsIPv4MappedToIPv6 ? from.MapToIPv4() : from).ToString();
    }

    public Socket Socket { get; }

    /// <summary>Where it comes from.</summary>
    public string Address { get; }

    /// <summary>When it must have proved who it is.</summary>
    public TimeSpan Deadline { get; }

    /// <summary>What it said it is; null before.</summary>
    public StoreHello? Hello { get; set; }

    /// <summary>What it has to answer to.</summary>
    public byte[] Nonce { get; } = RandomNumberGenerator.GetBytes(StoreHello.NonceBytes);

    /// <summary>Its rank once that is proved; -1 before.</summary>
    public int Rank { get; private set; } = -1;

    /// <summary>Whether it took its leave.</summary>
    public bool SaidGoodbye { get; set; }

    /// <summary>Whether it is to be closed when everything is sent.</summary>
    public bool IsClosing { get; set; }

    public bool WantsToRead => _backlog < LargestBacklog && !IsClosing;

    public bool WantsToSend => _outgoing.Count > 0;

    /// <summary>It has proved who it is, and may send longer frames from now on.</summary>
    public void Admit(int rank)
    {
        Rank = rank;
        _received.LongestBody = StoreFrame.LongestBody;
    }

    /// <summary>Receives what is there.</summary>
    /// <returns>False when the connection ended.</returns>
    public bool Receive()
    {
        for (int turn = 0; turn < Turn;)
        {
            int count = Socket.Receive(_received.Free(), SocketFlags.None, out SocketError error);
            if (error != SocketError.Success)
            {
                return error is SocketError.WouldBlock or SocketError.Interrupted;
            }

            if (count == 0)
            {
                return false;
            }

            _received.Received(count);
            turn += count;
            if (Rank < 0)
            {
                break; // a stranger gets no more than one buffer
            }
        }

        return true;
    }

    /// <exception cref="InvalidDataException">What was received is no frame.</exception>
    public bool TryTake(out StoreFrame frame) => _received.TryTake(out frame);

    public void Send(FrameKind kind, uint id, ReadOnlySpan<byte> body)
    {
        byte[] bytes = StoreFrame.Encode(kind, id, body);
        _outgoing.Enqueue(bytes);
        _backlog += bytes.Length;
        Flush();
    }

    /// <summary>Sends what the socket takes.</summary>
    /// <returns>False when the connection ended.</returns>
    public bool Flush()
    {
        while (_outgoing.TryPeek(out byte[]? first))
        {
            int sent = Socket.Send(first.AsSpan(_sentOfFirst), SocketFlags.None, out SocketError error);
            if (error != SocketError.Success)
            {
                return error is SocketError.WouldBlock or SocketError.Interrupted;
            }

            _sentOfFirst += sent;
            _backlog -= sent;
            if (_sentOfFirst == first.Length)
            {
                _outgoing.Dequeue();
                _sentOfFirst = 0;
            }
        }

        return true;
    }

    public void Dispose() => Socket.Dispose();
}

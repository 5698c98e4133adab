using System.Net.Sockets;
using DeepSpeedSharp.Config;
using DeepSpeedSharp.Engine.Comm.Recording;

namespace DeepSpeedSharp.Engine.Comm.Store;

/// <summary>The store in the process of rank 0: one thread of its own serves all connections, so that neither a busy thread
/// pool nor a long computation delays a heartbeat, and nothing needs a lock.</summary>
internal sealed class StoreServer : IDisposable
{
    // Connections that have not proved who they are; beyond that the oldest one is closed.
    private const int LargestCrowd = 256;

    private readonly Socket _listener;
    private readonly WorkerEnvironment _place;
    private readonly StoreOptions _options;
    private readonly List<StoreConnection> _connections = [];
    private readonly StoreMembers _members;
    private readonly TimeProvider _clock = TimeProvider.System;
    private readonly long _origin;
    private readonly Thread _thread;
    private volatile bool _stopping;

    public StoreServer(Socket listener, WorkerEnvironment place, TimeSpan timeout, StoreOptions options, FlightRecorder recorder)
    {
        (_listener, _place, _options, _origin) = (listener, place, options, _clock.GetTimestamp());
        listener.Blocking = false;
        _members = new StoreMembers(place, timeout, options, recorder);
        _thread = new Thread(Serve) { Name = "DeepSpeed store", IsBackground = true, Priority = ThreadPriority.AboveNormal };
        _thread.Start();
    }

    /// <summary>Number of open connections, for tests of what strangers can do.</summary>
    public int Connections => Volatile.Read(ref _count);

    private int _count;

    private TimeSpan Now => _clock.GetElapsedTime(_origin);

    /// <summary>Ends the store, after the dumps of a failure are collected; ranks that are still there are told.</summary>
    public void Dispose()
    {
        _stopping = true;
        _thread.Join();
        _listener.Dispose();
    }

    private void Serve()
    {
        while (!_stopping || _members.IsCollecting)
        {
            HashSet<Socket> readable = WaitForTraffic();
            TimeSpan now = Now;
            foreach (StoreConnection connection in _connections.ToArray())
            {
                if (!Attend(connection, readable.Contains(connection.Socket), now))
                {
                    Close(connection, now);
                }
            }

            if (readable.Contains(_listener))
            {
                Accept(now);
            }

            _members.Look(now);
            Volatile.Write(ref _count, _connections.Count);
        }

        _members.SayGoodbye();
        _connections.ForEach(connection => connection.Dispose());
    }

    // What can be read from.
    private HashSet<Socket> WaitForTraffic()
    {
        List<Socket> read = [_listener, .. _connections.Where(c => c.WantsToRead).Select(c => c.Socket)];
        List<Socket> write = [.. _connections.Where(c => c.WantsToSend).Select(c => c.Socket)];
        TimeSpan pause = _options.HeartbeatInterval / 8;
        if (pause > TimeSpan.FromMilliseconds(50))
        {
            pause = TimeSpan.FromMilliseconds(50);
        }

        Socket.Select(read, write, null, pause);
        return [.. read];
    }

    private void Accept(TimeSpan now)
    {
        for (int accepted = 0; accepted < LargestCrowd && _listener.Poll(0, SelectMode.SelectRead); accepted++)
        {
            Socket socket;
            try
            {
                socket = _listener.Accept();
            }
            catch (SocketException)
            {
                // It was reset before its turn came; or this process has no descriptor left, and then the next look may.
                return;
            }

            try
            {
                _connections.Add(new StoreConnection(socket, now + _options.HandshakeTimeout));
            }
            catch (SocketException)
            {
                socket.Dispose();
            }
        }

        StoreConnection[] strangers = [.. _connections.Where(connection => connection.Rank < 0)];
        foreach (StoreConnection stranger in strangers.Take(strangers.Length - LargestCrowd))
        {
            Close(stranger, now);
        }
    }

    // Whether the connection stays.
    private bool Attend(StoreConnection connection, bool isReadable, TimeSpan now)
    {
        try
        {
            bool open = !isReadable || Receive(connection, now);
            if (open && !connection.Flush())
            {
                // What it said last, a goodbye perhaps, may have come since.
                open = Receive(connection, now) && false;
            }

            return open && !(connection.IsClosing && !connection.WantsToSend) && (connection.Rank >= 0 || now < connection.Deadline);
        }
        catch (Exception e) when (e is InvalidDataException or SocketException or ObjectDisposedException)
        {
            return false; // not one of us
        }
    }

    private bool Receive(StoreConnection connection, TimeSpan now)
    {
        bool open = connection.Receive();
        if (connection.Rank >= 0)
        {
            _members.Heard(connection, now);
        }

        while (connection.TryTake(out StoreFrame frame))
        {
            if (connection.Rank >= 0)
            {
                _members.Take(connection, frame, now);
            }
            else
            {
                Greet(connection, frame, now);
            }
        }

        return open;
    }

    private void Greet(StoreConnection connection, StoreFrame frame, TimeSpan now)
    {
        if (frame.Kind == FrameKind.Hello && connection.Hello is null)
        {
            connection.Hello = StoreHello.Decode(frame.Body);
            connection.Send(FrameKind.Challenge, 0, new FieldWriter().Bytes(connection.Nonce)
                .Bytes(StoreProof.OfServer(_options.Secret.Span, connection.Hello, connection.Nonce)).ToArray());
        }
        else if (frame.Kind == FrameKind.Proof && connection.Hello is { } hello)
        {
            // Nothing about this run is told to somebody who does not know its secret.
            string? refusal = StoreProof.Equal(frame.Body, StoreProof.OfRank(_options.Secret.Span, hello, connection.Nonce))
                ? hello.Refusal(_place) ?? _members.Refusal(hello)
                : "it does not know the secret of this run; another job may hold this port, or give all ranks the same DEEPSPEED_SECRET_FILE";
            if (refusal is null)
            {
                connection.Admit(hello.Rank);
                _members.Join(connection, now);
            }
            else
            {
                connection.Send(FrameKind.Refused, 0, new FieldWriter().Text(refusal).ToArray());
                connection.IsClosing = true;
            }
        }
        else
        {
            throw new InvalidDataException($"a {frame.Kind} during the greeting");
        }
    }

    private void Close(StoreConnection connection, TimeSpan now)
    {
        _connections.Remove(connection);
        if (connection.Rank >= 0)
        {
            _members.End(connection, now);
        }

        connection.Dispose();
    }
}

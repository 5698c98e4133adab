using System.Net.Sockets;
using DeepSpeedSharp.Engine.Comm.Recording;

namespace DeepSpeedSharp.Engine.Comm.Store;

/// <summary>A rank's connection to the store after the handshake: one thread sends the heartbeat and reads what the store
/// says, whatever the rest of the process does.</summary>
internal sealed class StoreLink : IDisposable
{
    private readonly Socket _socket;
    private readonly int _rank;
    private readonly string _store;
    private readonly StoreOptions _options;
    private readonly FlightRecorder _recorder;
    private readonly Action<PeerLostException> _onLost;
    private readonly Lock _sending = new();
    private readonly Lock _asking = new();
    private readonly Dictionary<uint, TaskCompletionSource<byte[]>> _pending = [];
    private readonly TaskCompletionSource<IReadOnlyList<string>> _ready = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly TaskCompletionSource _ended = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly TimeProvider _clock = TimeProvider.System;
    private readonly Thread _thread;
    private readonly FrameBuffer _received = new() { LongestBody = StoreFrame.LongestBody };
    private int _groupsTold;
    private uint _lastId;
    private Exception? _end;
    private volatile bool _leaving;

    /// <param name="socket">After the handshake; owned from now on.</param>
    /// <param name="rank">This rank.</param>
    /// <param name="store">Where the store is, for messages.</param>
    /// <param name="options">How often to beat.</param>
    /// <param name="recorder">Where the heartbeat reads how far this rank is.</param>
    /// <param name="onLost">Told once when a rank is lost, on the link's thread, before any request fails of it.</param>
    public StoreLink(Socket socket, int rank, string store, StoreOptions options, FlightRecorder recorder, Action<PeerLostException> onLost)
    {
        (_socket, _rank, _store, _options, _recorder, _onLost) = (socket, rank, store, options, recorder, onLost);
        socket.SendTimeout = (int)options.HeartbeatTimeout.TotalMilliseconds;
        _thread = new Thread(Run) { Name = "DeepSpeed heartbeat", IsBackground = true, Priority = ThreadPriority.AboveNormal };
        _thread.Start();
    }

    /// <summary>The hosts of all ranks, when all have come; faults with <see cref="IOException"/> when the store went away before.</summary>
    public Task<IReadOnlyList<string>> Ready => _ready.Task;

    /// <summary>Ends when the store can say nothing more.</summary>
    public Task Ended => _ended.Task;

    /// <summary>Ranks that had not come when the store last said so.</summary>
    public IReadOnlyList<int> Missing { get; private set; } = [];

    /// <summary>Sends a request and waits for its answer.</summary>
    /// <param name="kind">Which request.</param>
    /// <param name="body">Its fields.</param>
    /// <param name="limit">How long the store may take to answer.</param>
    /// <returns>Status and fields.</returns>
    /// <exception cref="PeerLostException">A rank is lost, or the store is.</exception>
    public (ReplyStatus Status, byte[] Fields) Ask(FrameKind kind, byte[] body, TimeSpan limit)
    {
        var answer = new TaskCompletionSource<byte[]>(TaskCreationOptions.RunContinuationsAsynchronously);
        uint id;
        lock (_asking)
        {
            if (_end is { } end)
            {
                throw end;
            }

            _pending[id = ++_lastId] = answer;
        }

        Send(kind, id, body);
        // The store answers in time; when the link is dead, its thread says so.
        if (!((IAsyncResult)answer.Task).AsyncWaitHandle.WaitOne(Bounded(limit + 2 * _options.HeartbeatTimeout)))
        {
            throw new PeerLostException(0, $"store, rank {_rank}: rank 0 did not answer a {kind} within {limit.TotalSeconds:0.#} s though its "
                + "heartbeat goes on; look at the log of rank 0");
        }

        byte[] fields = answer.Task.GetAwaiter().GetResult();
        return fields.Length > 0 ? ((ReplyStatus)fields[0], fields[1..]) : (ReplyStatus.Refused, []);
    }

    /// <summary>Tells the store something; does nothing when the link has ended.</summary>
    public void Tell(FrameKind kind, byte[] body) => Send(kind, 0, body);

    /// <summary>Takes leave and ends.</summary>
    public void Dispose()
    {
        if (!_leaving)
        {
            _leaving = true;
            TellGroups();
            Tell(FrameKind.Goodbye, ProgressFrame.Encode(_recorder.Progress()));
            Hang(_socket); // wakes the thread
        }

        _thread.Join();
        _socket.Dispose();
    }

    private static TimeSpan Bounded(TimeSpan time) => time.TotalMilliseconds < int.MaxValue ? time : TimeSpan.FromMilliseconds(int.MaxValue);

    private void Send(FrameKind kind, uint id, byte[] body)
    {
        byte[] bytes = StoreFrame.Encode(kind, id, body);
        lock (_sending)
        {
            for (int sent = 0; sent < bytes.Length;)
            {
                int count = _socket.Send(bytes.AsSpan(sent), SocketFlags.None, out SocketError error);
                if (error != SocketError.Success)
                {
                    // The reading side learns the same and ends the link; a half-sent frame must not be followed by another.
                    Hang(_socket);
                    return;
                }

                sent += count;
            }
        }
    }

    private static void Hang(Socket socket)
    {
        try
        {
            socket.Shutdown(SocketShutdown.Both);
        }
        catch (SocketException)
        {
            // Not connected any more, which is as good.
        }
    }

    private void Run()
    {
        string reason;
        try
        {
            reason = Serve();
        }
        catch (Exception e) when (e is SocketException or ObjectDisposedException or InvalidDataException)
        {
            reason = $"the connection to it ended: {e.Message}";
        }

        if (_leaving)
        {
            End(new ObjectDisposedException(nameof(TcpStore), "this rank has left the store"));
        }
        else if (!_ready.Task.IsCompletedSuccessfully)
        {
            End(new IOException($"rank 0 went away before all ranks had come: {reason}"));
        }
        else
        {
            RankProgress progress = _recorder.Progress();
            End(new Verdict([0], _store, "", -1, $"{reason}. This rank was in step {progress.Step}, its last collective was "
                + $"{(progress.LastCollective.Length == 0 ? "none" : progress.LastCollective)}; look at the log of rank 0").ToException(_rank));
        }
    }

    // Returns why the link ended.
    private string Serve()
    {
        long heard = _clock.GetTimestamp();
        long looked = heard;
        long beaten = 0;
        while (!_leaving)
        {
            long now = _clock.GetTimestamp();
            if (_clock.GetElapsedTime(looked, now) > 2 * _options.HeartbeatInterval)
            {
                heard = now; // this process was stopped: what came meanwhile is not read yet
            }

            looked = now;
            if (beaten == 0 || _clock.GetElapsedTime(beaten, now) >= _options.HeartbeatInterval)
            {
                Beat();
                beaten = now;
            }

            if (_socket.Poll(_options.HeartbeatInterval / 4, SelectMode.SelectRead))
            {
                int count = _socket.Receive(_received.Free(), SocketFlags.None, out SocketError error);
                if (count == 0 || error != SocketError.Success)
                {
                    return "its process or machine ended (the connection to the store ended without a goodbye)";
                }

                heard = _clock.GetTimestamp();
                _received.Received(count);
                while (_received.TryTake(out StoreFrame frame))
                {
                    if (Take(frame) is { } end)
                    {
                        return end;
                    }
                }
            }
            else if (_clock.GetElapsedTime(heard, _clock.GetTimestamp()) >= _options.HeartbeatTimeout)
            {
                return $"no heartbeat for {_options.HeartbeatTimeout.TotalSeconds:0.#} s: its process is paused, its machine is down or hangs, or the "
                    + "network to it is cut; the other ranks may be lost to this one as well; or raise DEEPSPEED_HEARTBEAT_TIMEOUT (seconds)";
            }
        }

        return "";
    }

    // A beat is left out while another thread sends something long: its bytes are a sign of life too.
    private void Beat()
    {
        if (_sending.TryEnter())
        {
            try
            {
                if (_socket.Poll(0, SelectMode.SelectWrite))
                {
                    TellGroups();
                    Tell(FrameKind.Beat, ProgressFrame.Encode(_recorder.Progress()));
                }
            }
            finally
            {
                _sending.Exit();
            }
        }
    }

    private void TellGroups()
    {
        lock (_sending)
        {
            foreach (FlightGroup group in _recorder.Groups().Skip(_groupsTold))
            {
                Tell(FrameKind.Group, new FieldWriter().Text(group.Name).List(group.Ranks, (fields, rank) => fields.Number(rank)).ToArray());
                _groupsTold++;
            }
        }
    }

    // Why the link has to end; null when it goes on.
    private string? Take(StoreFrame frame)
    {
        switch (frame.Kind)
        {
            case FrameKind.Reply:
                TaskCompletionSource<byte[]>? answer;
                lock (_asking)
                {
                    _pending.Remove(frame.Id, out answer);
                }

                answer?.TrySetResult(frame.Body);
                return null;
            case FrameKind.Ready:
                _ready.TrySetResult(new FieldReader(frame.Body).List((ref FieldReader fields) => fields.Text()));
                return null;
            case FrameKind.Verdict:
                PeerLostException lost = Verdict.Decode(frame.Body).ToException(_rank);
                _ready.TrySetException(lost);
                End(lost);
                return null;
            case FrameKind.Refused:
                _ready.TrySetException(new PeerLostException(0, $"rendezvous, rank {_rank}: rank 0 refused: {new FieldReader(frame.Body).Text()}"));
                return "it refused this rank";
            case FrameKind.Goodbye:
                _leaving = true;
                End(new PeerLostException(0, $"store, rank {_rank}: rank 0, which holds the store, has left the run; let it wait for the others, "
                    + "for example in a barrier at the end"), isLoss: false);
                return "";
            case FrameKind.Pulse:
                Missing = new FieldReader(frame.Body).List((ref FieldReader fields) => fields.Number());
                return null;
            default:
                throw new InvalidDataException($"a {frame.Kind} of the store");
        }
    }

    private void End(Exception end, bool isLoss = true)
    {
        lock (_asking)
        {
            if (_end is not null)
            {
                return;
            }

            _end = end;
        }

        _ready.TrySetException(end);
        if (isLoss && end is PeerLostException lost)
        {
            _onLost(lost);
        }

        TaskCompletionSource<byte[]>[] pending;
        lock (_asking)
        {
            pending = [.. _pending.Values];
            _pending.Clear();
        }

        Array.ForEach(pending, answer => answer.TrySetException(end));
        _ended.TrySetResult();
    }
}

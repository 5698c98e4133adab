using DeepSpeedSharp.Engine.Comm.Algorithms;
using DeepSpeedSharp.Engine.Comm.Recording;
using DeepSpeedSharp.Engine.Comm.Transport;

namespace DeepSpeedSharp.Engine.Comm;

/// <summary>Collectives in host memory, over shared memory and TCP. CUDA tensors are copied there and back.</summary>
/// <remarks>One thing after the other: on the calling thread when it waits anyway and nothing else is under way, otherwise on a
/// thread of the group's own.</remarks>
internal sealed class HostCollectives : ICollectives
{
    private readonly HostLinks _links;
    private readonly HostAlgorithms _algorithms;
    private readonly CollectiveQueue _queue;
    private readonly Messages _messages;
    private readonly DebugCheck? _debug;
    private readonly FlightGroup? _flight;
    private bool _disposed;

    /// <param name="links">What connects the ranks; disposed with this.</param>
    /// <param name="name">The group's, the same on every rank.</param>
    /// <param name="flight">Notes what was called; none in tests of the algorithms.</param>
    /// <param name="debug">Whether all ranks' calls are compared before data moves.</param>
    public HostCollectives(HostLinks links, string name = "world", FlightGroup? flight = null, bool debug = false)
    {
        (_links, _flight) = (links, flight);
        _algorithms = new HostAlgorithms(links);
        _queue = new CollectiveQueue($"collectives of {name}, rank {links.Watch.Rank}");
        _messages = new Messages(links.Messages, name, flight);
        _debug = debug && WorldSize > 1 ? new DebugCheck(links.Watch, _algorithms) : null;
    }

    public string Backend => "host";

    /// <summary>This rank, in the group's numbers.</summary>
    public int Rank => _links.Watch.Rank;

    /// <summary>Number of ranks in the group.</summary>
    public int WorldSize => _links.Watch.Ranks.Count;

    /// <summary>What was decided about transports, in words.</summary>
    public string Description => _links.Description;

    /// <summary>Bytes that this rank has sent over links; those it has put on a board are not counted.</summary>
    public long BytesSent => _links.Collectives.BytesSent;

    public Work Start(IReadOnlyList<Collective> calls, bool now)
    {
        if (calls.Count == 0)
        {
            return Work.Done;
        }

        long first = Note(calls[0]);
        // Mostly there is one; sends may be noted between several.
        long[] others = calls.Count == 1 ? [] : [.. calls.Skip(1).Select(Note)];

        if (now)
        {
            _queue.Run(All);
            return Work.Done;
        }

        return new Work(_queue.Start(All));

        void All()
        {
            for (int i = 0; i < calls.Count; i++)
            {
                RunNow(calls[i]);
                _flight?.RecordEnd(i == 0 ? first : others[i - 1]);
            }
        }
    }

    public Work Send(Piece piece, int peer, int tag, string name, bool now) => _messages.Send(piece, peer, tag, name, now);

    public Work Receive(Piece piece, int peer, int tag, string name, bool now) => _messages.Receive(piece, peer, tag, name, now);

    /// <summary>Runs one collective on this thread; only in one's turn.</summary>
    public void RunNow(Collective call) => Guarded(call, () =>
    {
        _debug?.Compare(call);
        using Staging staging = Staging.Of(call);
        Run(call, staging);
        staging.CopyBack();
    });

    /// <summary>In debug mode, refuses calls that differ between ranks, for a backend that cannot do that itself.</summary>
    public void CheckNow(IReadOnlyList<Collective> calls)
    {
        if (_debug is { } debug)
        {
            _queue.Run(() =>
            {
                foreach (Collective call in calls)
                {
                    Guarded(call, () => debug.Compare(call));
                }
            });
        }
    }

    /// <summary>Runs several collectives, so that no other comes between them.</summary>
    public Task InTurn(Func<Task> collectives, string name)
    {
        long token = _flight?.RecordStart("Several", name, 0, null) ?? 0;
        return _queue.Start(() =>
        {
            collectives().GetAwaiter().GetResult();
            _flight?.RecordEnd(token);
        });
    }

    /// <summary>Gathers bytes on this thread; only in one's turn.</summary>
    public byte[][] GatherNow(byte[] mine, string name)
    {
        byte[][] all = [];
        var call = new Collective(CollectiveKind.AllGather, name);
        Guarded(call, () =>
        {
            _debug?.Compare(call);
            all = _algorithms.GatherBytes(mine, call);
        });
        return all;
    }

    /// <summary>Gathers bytes of all ranks.</summary>
    public byte[][] Gather(byte[] mine, string name)
    {
        byte[][] all = [];
        long token = Note(CollectiveKind.AllGather, name, mine.Length);
        _queue.Run(() => all = GatherNow(mine, name));
        _flight?.RecordEnd(token);
        return all;
    }

    /// <summary>Starts gathering bytes of all ranks.</summary>
    public async Task<byte[][]> GatherAsync(byte[] mine, string name)
    {
        byte[][] all = [];
        long token = Note(CollectiveKind.AllGather, name, mine.Length);
        await _queue.Start(() => all = GatherNow(mine, name)).ConfigureAwait(false);
        _flight?.RecordEnd(token);
        return all;
    }

    /// <summary>Gives all ranks one rank's bytes.</summary>
    public byte[] Broadcast(byte[] bytes, int root, string name)
    {
        byte[] result = [];
        long token = Note(CollectiveKind.Broadcast, name, bytes.Length);
        var call = new Collective(CollectiveKind.Broadcast, name) { Root = root };
        _queue.Run(() => Guarded(call, () =>
        {
            _debug?.Compare(call);
            result = BroadcastNow(bytes, root, call);
        }));
        _flight?.RecordEnd(token);
        return result;
    }

    /// <summary>A barrier that names all that are missing.</summary>
    public void MonitoredBarrier(TimeSpan? timeout, string name)
    {
        var call = new Collective(CollectiveKind.Barrier, name);
        long token = Note(CollectiveKind.Barrier, name, 0);
        _queue.Run(() => Guarded(call, () => RollCall.Run(_links.Collectives, timeout ?? _links.Watch.Timeout, call)));
        _flight?.RecordEnd(token);
    }

    public void Abort(PeerLostException reason)
    {
        _links.Watch.Abort(reason);
        _links.Close();
    }

    public void Dispose()
    {
        if (_disposed)
        {
            return;
        }

        _disposed = true;
        // Waits that are under way end soon after; then nobody uses the memory any more.
        _links.Watch.Abort(new PeerLostException(_links.Watch.Ranks[Rank], "this rank has left the group"));
        _links.Close();
        _queue.Dispose();
        _messages.Dispose();
        _algorithms.Dispose();
        _links.Dispose();
    }

    private long Note(Collective call) => _flight?.RecordStart(KindName(call.Kind), call.Name, call.Bytes, call.Type) ?? 0;

    private long Note(CollectiveKind kind, string name, long bytes) => _flight?.RecordStart(KindName(kind), name, bytes, null) ?? 0;

    private unsafe byte[] BroadcastNow(byte[] bytes, int root, Collective call)
    {
        long length = bytes.Length;
        _algorithms.Broadcast(new Block((byte*)&length, sizeof(long)), root, call);
        byte[] result = Rank == root ? bytes : new byte[length];
        fixed (byte* start = result)
        {
            _algorithms.Broadcast(new Block(start, length), root, call);
        }

        return result;
    }

    private void Guarded(Collective call, Action action)
    {
        _links.Watch.ThrowIfAborted(call);
        try
        {
            action();
        }
        catch (PeerLostException mine)
        {
            // Closing our links at once tells the neighbours, which tell theirs: nobody waits for a timeout.
            _links.Close();
            PeerLostException reason = _links.Watch.Reason ?? _links.Watch.AskStore?.Invoke(mine) ?? mine;
            _links.Watch.Abort(reason);
            if (ReferenceEquals(reason, mine) || mine.InnerException == reason)
            {
                throw;
            }

            _links.Watch.ThrowIfAborted(call);
        }
        catch (CollectiveMismatchException e)
        {
            // Nobody knows any more what is on the links.
            _links.Watch.Abort(new PeerLostException(-1, $"an earlier collective failed: {e.Message}"));
            throw;
        }
    }

    private void Run(Collective call, Staging staging)
    {
        (Block[] inputs, Block[] outputs) = (staging.Inputs, staging.Outputs);
        switch (call.Kind)
        {
            case CollectiveKind.AllReduce:
                _algorithms.AllReduce(inputs[0], call.Type!.Value, call.Op, call);
                break;
            case CollectiveKind.Reduce:
                _algorithms.Reduce(inputs[0], call.Root, call.Type!.Value, call.Op, call);
                break;
            case CollectiveKind.ReduceScatter:
                _algorithms.ReduceScatter(inputs, outputs.Length > 0 ? outputs[0] : inputs[Rank], call.Type!.Value, call.Op, call);
                break;
            case CollectiveKind.AllGather:
                AllGather(call, inputs, outputs);
                break;
            case CollectiveKind.Broadcast:
                _algorithms.Broadcast(inputs[0], call.Root, call);
                break;
            case CollectiveKind.Scatter:
                _algorithms.AllToAll(call.Kind, Rank == call.Root ? inputs : new Block[WorldSize], OnlyAt(call.Root, outputs[0]), call);
                break;
            case CollectiveKind.Gather:
                _algorithms.AllToAll(call.Kind, OnlyAt(call.Root, inputs[0]), Rank == call.Root ? outputs : new Block[WorldSize], call);
                break;
            case CollectiveKind.AllToAll:
                _algorithms.AllToAll(call.Kind, inputs, outputs, call);
                break;
            case CollectiveKind.Barrier:
                _algorithms.Barrier(call);
                break;
            default:
                throw new NotSupportedException(call.Kind.ToString());
        }
    }

    private unsafe void AllGather(Collective call, Block[] inputs, Block[] outputs)
    {
        if (inputs.Length > 0 && inputs[0].Start != outputs[Rank].Start)
        {
            inputs[0].CopyTo(outputs[Rank]);
        }

        int size = (int)call.Outputs[0].Tensor.element_size();
        long round = call.RoundElements == long.MaxValue ? long.MaxValue : Math.Max(1, call.RoundElements / WorldSize) * size;
        long longest = Rounds.Longest(outputs);
        if (round >= longest)
        {
            _algorithms.AllGather(outputs, call);
            return;
        }

        for (long at = 0; at < longest; at += round)
        {
            _algorithms.AllGather([.. outputs.Select(part => Rounds.Part(part, at, round))], call);
        }
    }

    private Block[] OnlyAt(int root, Block block)
    {
        var blocks = new Block[WorldSize];
        blocks[root] = block;
        return blocks;
    }

    private static string KindName(CollectiveKind kind) => Enum.GetName(kind)!;
}

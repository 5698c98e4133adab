using DeepSpeedSharp.Config;
using DeepSpeedSharp.Engine.Comm.Nccl;
using DeepSpeedSharp.Engine.Comm.Recording;

namespace DeepSpeedSharp.Engine.Comm;

/// <summary>Ranks of a run, all or some of them, and the collectives between them.</summary>
/// <remarks>
/// <para>Every rank of the group must call every collective, in the same order. An asynchronous one is done on a thread of the
/// group's own, or by NCCL on a stream of its own, and overlaps with computation; each group keeps the order in which its
/// collectives were started. After one has failed all later ones fail.</para>
/// <para>Tensors are contiguous. Values can be combined in fp32, fp64, fp16, bf16, int32, int64 and uint8; every type can be moved.
/// CPU tensors go through shared memory between ranks of one host and through TCP between hosts, also in a group that has
/// NCCL. CUDA tensors go through NCCL where the group has it; otherwise they are copied to host memory and back.</para>
/// <para>For equal inputs on an equal layout of ranks over hosts, all results have the same bits on every rank and in every run.</para>
/// </remarks>
public sealed partial class ProcessGroup : IDisposable
{
    private readonly HostCollectives _host;
    private readonly NcclCollectives? _device;
    private readonly GroupFactory? _factory;

    internal ProcessGroup(WorkerEnvironment environment, HostCollectives host, GroupFactory? factory = null,
        IReadOnlyList<int>? ranks = null, NcclCollectives? device = null)
    {
        (Environment, _host, _factory, _device) = (environment, host, factory, device);
        Ranks = ranks ?? [.. Enumerable.Range(0, environment.WorldSize)];
        Rank = host.Rank;
    }

    /// <summary>Where this process stands in the run.</summary>
    public WorkerEnvironment Environment { get; }

    /// <summary>Index of this process in the group.</summary>
    public int Rank { get; }

    /// <summary>Number of processes in the group.</summary>
    public int WorldSize => Ranks.Count;

    /// <summary>The members, as ranks of the run, in the order of their numbers in the group.</summary>
    public IReadOnlyList<int> Ranks { get; }

    /// <summary>What moves the group's tensors: <c>host</c> or <c>nccl</c>.</summary>
    public string Backend => _device?.Backend ?? _host.Backend;

    /// <summary>What was decided about transports, in words, for a start-up report.</summary>
    public string Description => _host.Description + (_device is not null ? $"; CUDA tensors by {NcclEnvironment.Description()}"
        : WhyNotNccl is null ? "" : $"; CUDA tensors through host memory, not NCCL: {WhyNotNccl}");

    /// <summary>Why CUDA tensors do not go through NCCL although this rank could; null when there is no reason to tell.</summary>
    internal string? WhyNotNccl { get; init; }

    /// <summary>The last collectives of this process, in all its groups; null in a run of one process.</summary>
    public FlightRecorder? FlightRecorder => _factory?.Recorder;

    /// <summary>The rank in the run of a rank of this group.</summary>
    /// <param name="groupRank">From 0 to <see cref="WorldSize"/> - 1.</param>
    public int GetGlobalRank(int groupRank)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(groupRank);
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(groupRank, WorldSize);
        return Ranks[groupRank];
    }

    /// <summary>The rank in this group of a rank of the run.</summary>
    /// <param name="globalRank">A rank of the run.</param>
    /// <exception cref="ArgumentException">It is not a member.</exception>
    public int GetGroupRank(int globalRank)
    {
        for (int i = 0; i < Ranks.Count; i++)
        {
            if (Ranks[i] == globalRank)
            {
                return i;
            }
        }

        throw new ArgumentException($"rank {globalRank} is not in this group, which is {string.Join(", ", Ranks)}", nameof(globalRank));
    }

    /// <summary>Makes a group of some of this group's ranks. Every rank of this group must call it, in the same order, also those
    /// that will not be members.</summary>
    /// <param name="ranks">Members, as ranks of the run, each once; their order gives the numbers in the group.</param>
    /// <returns>The group, with links of its own, so that its collectives are independent of this group's; null on a rank that is
    /// not a member. The caller disposes it.</returns>
    /// <exception cref="ArgumentException">A rank is not in this group, or appears twice.</exception>
    /// <exception cref="PeerLostException">Another rank ended or did not call it.</exception>
    public ProcessGroup? NewGroup(IReadOnlyList<int> ranks)
    {
        int unknown = ranks.FirstOrDefault(rank => !Ranks.Contains(rank), -1);
        if (ranks.Count == 0 || unknown >= 0 || ranks.Distinct().Count() != ranks.Count)
        {
            throw new ArgumentException(ranks.Count == 0 ? "a group needs a rank" : unknown >= 0
                ? $"rank {unknown} is not in the group that the new one is made from, which is {string.Join(", ", Ranks)}"
                : $"a rank appears twice in {string.Join(", ", ranks)}", nameof(ranks));
        }

        if (_factory is null)
        {
            throw new InvalidOperationException("this group was made from links of its own and cannot link others; make groups from the one of DeepSpeed.InitDistributed");
        }

        ProcessGroup? group = _factory.NewGroup(this, ranks);
        if (group is not null)
        {
            group._logger = _logger;
        }

        return group;
    }

    /// <summary>Runs several collectives as one: no other comes between them, on any rank.</summary>
    /// <remarks>A collective that is started when another has ended would take its place in the order by chance, and
    /// another one on each rank.</remarks>
    /// <param name="collectives">Calls <see cref="GatherNowAsync"/> and <see cref="ReduceNowAsync"/> only, the same ones on every rank.</param>
    /// <param name="name">What they move, for messages.</param>
    /// <returns>Ends with them; faults with <see cref="PeerLostException"/>.</returns>
    internal Task InTurnAsync(Func<Task> collectives, string name) => _host.InTurn(collectives, name);

    /// <summary>Gathers bytes of all ranks; within <see cref="InTurnAsync"/>.</summary>
    internal Task<byte[][]> GatherNowAsync(byte[] mine, string name) => Task.FromResult(_host.GatherNow(mine, name));

    /// <summary>Sums a tensor over all ranks, in place; within <see cref="InTurnAsync"/>. A CUDA tensor goes through host memory: its
    /// place among NCCL's collectives would differ between ranks.</summary>
    internal Task ReduceNowAsync(Tensor tensor, string name)
    {
        _host.RunNow(new Collective(CollectiveKind.AllReduce, name) { Inputs = [Piece.Of(tensor)] });
        return Task.CompletedTask;
    }

    /// <summary>Whether it has been disposed.</summary>
    internal bool IsDisposed { get; private set; }

    /// <summary>Closes the links; other ranks that still wait for this one see it as lost. DeepSpeed's
    /// <c>destroy_process_group</c>.</summary>
    public void Dispose()
    {
        IsDisposed = true;
        _device?.Dispose();
        _host.Dispose();
        _factory?.Left(this);
    }

    /// <summary>Ends what is under way on this rank; it and all later collectives fail with this reason.</summary>
    internal void Abort(PeerLostException reason)
    {
        _host.Abort(reason);
        _device?.Abort(reason);
    }

    private void Run(params IReadOnlyList<Collective> calls) => Start(calls, true).Wait();

    private Work Begin(params IReadOnlyList<Collective> calls) => Start(calls, false);

    private Work Start(IReadOnlyList<Collective> calls, bool now)
    {
        if (WorldSize == 1 && calls.Count > 0 && calls[0].Device?.type == TorchSharp.DeviceType.CUDA)
        {
            return _logger is null ? Alone(calls) : Logged(calls, () => Alone(calls));
        }

        ICollectives backend = BackendOf(calls.Count > 0 ? calls[0].Device : null);
        if (!ReferenceEquals(backend, _host))
        {
            // Before data moves; NCCL would hang or mix values.
            _host.CheckNow(calls);
        }

        return _logger is null ? backend.Start(calls, now) : Logged(calls, () => backend.Start(calls, now));
    }

    private static Work Alone(IReadOnlyList<Collective> calls)
    {
        foreach (Collective call in calls)
        {
            OneRank.Run(call);
        }

        return Work.Done;
    }

    private ICollectives BackendOf(TorchSharp.torch.Device? device) =>
        _device is not null && device?.type == TorchSharp.DeviceType.CUDA ? _device : _host;
}

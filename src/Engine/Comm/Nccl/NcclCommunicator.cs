using DeepSpeedSharp.Engine.Native;

namespace DeepSpeedSharp.Engine.Comm.Nccl;

/// <summary>The ranks of a group, as NCCL knows them: one communicator on one GPU, with a stream of its own.</summary>
/// <remarks>
/// The communicator does not block: a function that has to wait for other ranks, as the first ones do while connections are
/// made, says that it is in progress, and is asked for until it has ended, the timeout has passed, or another thread has given
/// the communicator up. So nothing waits for a lost rank for ever.
/// </remarks>
internal sealed unsafe class NcclCommunicator : IDisposable
{
    private const int Success = 0, InvalidUsage = 5, InProgress = 7;

    private static readonly TimeSpan EndTimeout = TimeSpan.FromSeconds(10);

    private readonly NcclLibrary _nccl = NcclLibrary.Loaded;
    private readonly TimeSpan _timeout;
    private readonly string _who;
    private readonly Lock _calls = new();
    private nint _communicator;
    private volatile PeerLostException? _failure;

    private NcclCommunicator(int rank, int worldSize, int device, TimeSpan timeout, string group)
    {
        (Rank, WorldSize, Device, _timeout, _who) = (rank, worldSize, device, timeout, $"NCCL, group {group}, rank {rank}");
        Stream = new CudaStream(device);
    }

    /// <summary>Index of this rank in the group.</summary>
    public int Rank { get; }

    /// <summary>Number of ranks of the group.</summary>
    public int WorldSize { get; }

    /// <summary>Index of the GPU in this process.</summary>
    public int Device { get; }

    /// <summary>The stream that collectives run on.</summary>
    public CudaStream Stream { get; }

    /// <summary>Why it has been given up; null while it works.</summary>
    public PeerLostException? Failure => _failure;

    /// <summary>What the first rank of a group gives to the others, so that they can join it.</summary>
    public static byte[] NewId()
    {
        NcclLibrary nccl = NcclLibrary.Loaded;
        NcclId id;
        int status = nccl.GetUniqueId(&id);
        return status == Success ? new ReadOnlySpan<byte>(id.Bytes, NcclId.Size).ToArray()
            : throw new NativeBackendException($"NCCL {nccl.Version} cannot start: ncclGetUniqueId: {nccl.Explain(status, 0)}"
                + NcclEnvironment.Sentence());
    }

    /// <summary>Joins a group; returns when all of its ranks have.</summary>
    /// <param name="id">From <see cref="NewId"/>, the same for all ranks of the group.</param>
    /// <param name="rank">Index of this rank in the group.</param>
    /// <param name="worldSize">Number of ranks of the group.</param>
    /// <param name="device">Index of the GPU in this process.</param>
    /// <param name="timeout">How long to wait for the others.</param>
    /// <param name="group">Its name, for messages.</param>
    /// <param name="lost">Completes when a rank of the run is lost.</param>
    /// <exception cref="PeerLostException">Some rank did not come.</exception>
    /// <exception cref="NativeBackendException">NCCL refuses: two ranks on one GPU, for example.</exception>
    public static NcclCommunicator Join(ReadOnlySpan<byte> id, int rank, int worldSize, int device, TimeSpan timeout, string group,
        Task<PeerLostException>? lost)
    {
        var communicator = new NcclCommunicator(rank, worldSize, device, timeout, group);
        try
        {
            communicator.Start(id, lost);
            return communicator;
        }
        catch
        {
            communicator.Abort();
            communicator.Stream.Dispose();
            throw;
        }
    }

    /// <summary>Starts operations on the communicator's stream, as one group; returns when they are queued there.</summary>
    /// <param name="operation">Name of the collective, for messages.</param>
    /// <param name="start">Calls NCCL's functions with the communicator's handle and stream; returns the first status that is no success.</param>
    /// <exception cref="PeerLostException">A rank is lost.</exception>
    public void Run(string operation, Func<NcclLibrary, nint, nint, int> start)
    {
        lock (_calls)
        {
            ThrowIfFailed();
            Check(_nccl.GroupStart(), operation);
            int status = start(_nccl, _communicator, Stream.Handle);
            int end = _nccl.GroupEnd();
            Await(status is Success or InProgress ? end : status, operation, null);
        }
    }

    /// <summary>What NCCL has noticed by itself since: a broken connection, for example. Null when all is well.</summary>
    public string? AsyncError()
    {
        int state;
        nint communicator = Volatile.Read(ref _communicator);
        if (communicator == 0)
        {
            return null;
        }

        int status = _nccl.CommGetAsyncError(communicator, &state);
        int code = status != Success ? status : state;
        return code is Success or InProgress ? null : _nccl.Explain(code, communicator);
    }

    /// <summary>Gives the communicator up: what runs on its stream ends, and all later calls fail.</summary>
    /// <param name="reason">What they throw.</param>
    public void Fail(PeerLostException reason)
    {
        if (Interlocked.CompareExchange(ref _failure, reason, null) is null)
        {
            Abort();
        }
    }

    /// <summary>Throws why it has been given up.</summary>
    public void ThrowIfFailed()
    {
        if (_failure is { } failure)
        {
            throw new PeerLostException(failure.Rank, failure.Message, failure)
            {
                Ranks = failure.Ranks,
                Host = failure.Host,
                LastCollective = failure.LastCollective,
                Step = failure.Step,
            };
        }
    }

    public void Dispose()
    {
        // Ranks that are still there end together; one that is not must not keep us.
        try
        {
            lock (_calls)
            {
                if (_communicator != 0)
                {
                    Await(_nccl.CommFinalize(_communicator), "end of the group", EndTimeout);
                    _ = _nccl.CommDestroy(_communicator);
                    _communicator = 0;
                }
            }
        }
        catch (Exception e) when (e is PeerLostException or NativeBackendException)
        {
            Abort();
        }

        Stream.Dispose();
    }

    private void Start(ReadOnlySpan<byte> bytes, Task<PeerLostException>? lost)
    {
        using CudaDevice.Scope scope = CudaDevice.Use(Device);
        NcclId id;
        bytes.CopyTo(new Span<byte>(id.Bytes, NcclId.Size));
        NcclConfig config = NcclConfig.NonBlocking;
        nint created = 0;
        int status = _nccl.CommInitRankConfig(&created, WorldSize, id, Rank, &config);
        _communicator = created;
        Await(status, "start of the group", null, lost);
    }

    // The communicator may be used again only when what was started has been queued.
    private void Await(int status, string operation, TimeSpan? limit, Task<PeerLostException>? lost = null)
    {
        var wait = new ShortWait();
        while (status == InProgress)
        {
            ThrowIfFailed();
            if (lost is { IsCompletedSuccessfully: true })
            {
                throw lost.Result;
            }

            TimeSpan waited = wait.Waited;
            if (waited > (limit ?? _timeout))
            {
                throw new PeerLostException(-1, $"{_who}: {operation} could not begin within {waited.TotalSeconds:0} s: some rank has "
                    + "not come to it, or cannot be reached; look at the other ranks' logs, set NCCL_DEBUG=INFO to see which "
                    + "network NCCL uses and NCCL_SOCKET_IFNAME to choose another, or raise DEEPSPEED_TIMEOUT (minutes). "
                    + $"See docs/communication.md#nccl.{NcclEnvironment.Sentence()}");
            }

            wait.Pause();
            int state;
            int asked = _nccl.CommGetAsyncError(_communicator, &state);
            status = asked != Success ? asked : state;
        }

        Check(status, operation);
    }

    private void Check(int status, string operation)
    {
        if (status is Success or InProgress)
        {
            return;
        }

        ThrowIfFailed();
        string reason = _nccl.Explain(status, _communicator);
        if (reason.Contains("Duplicate GPU", StringComparison.Ordinal))
        {
            throw new NativeBackendException($"{_who}: {operation}: {reason}. NCCL wants a GPU of its own for each rank; start fewer "
                + "ranks, or check CUDA_VISIBLE_DEVICES. To share one GPU all the same, for tests, give each process an NCCL_HOSTID "
                + "of its own and NCCL_SOCKET_IFNAME=lo");
        }

        // What the caller did wrong is not cured by another start; a broken connection may be.
        throw status == InvalidUsage || status == 4
            ? new NativeBackendException($"{_who}: {operation} was refused by NCCL {_nccl.Version}: {reason}{NcclEnvironment.Sentence()}")
            : new PeerLostException(-1, $"{_who}: {operation} failed: {reason}; look at the other ranks' logs, and set NCCL_DEBUG=INFO to "
                + $"see more. See docs/communication.md#nccl.{NcclEnvironment.Sentence()}");
    }

    // A caller that waits for the other ranks sees the failure and leaves. One that hangs inside NCCL or CUDA cannot, and is what
    // the abort is for.
    private void Abort()
    {
        bool isMine = _calls.TryEnter(EndTimeout);
        try
        {
            nint communicator = Interlocked.Exchange(ref _communicator, 0);
            if (communicator != 0)
            {
                _ = _nccl.CommAbort(communicator);
            }
        }
        finally
        {
            if (isMine)
            {
                _calls.Exit();
            }
        }
    }
}

using DeepSpeedSharp.Engine.Comm.Store;
using DeepSpeedSharp.Engine.Native;
using TorchSharp;

namespace DeepSpeedSharp.Engine.Comm.Nccl;

/// <summary>The collectives of a group on GPUs, by NCCL.</summary>
/// <remarks>The communicator is made with the first call, on the GPU of its tensors. Calls run one after the other on a stream of
/// their own, behind what the current stream had queued; nothing here waits for the GPU.</remarks>
internal sealed class NcclCollectives : ICollectives
{
    private readonly TcpStore _store;
    private readonly string _group;
    private readonly int _rank;
    private readonly int _worldSize;
    private readonly TimeSpan _timeout;
    private readonly Lock _starting = new();
    private NcclWatch? _watch;
    private int _device = -1;
    private volatile PeerLostException? _failure;

    /// <param name="store">Through which the ranks find each other.</param>
    /// <param name="group">The group's name: the same on all of its ranks, and no other group's.</param>
    /// <param name="rank">Index of this rank in the group.</param>
    /// <param name="worldSize">Number of ranks of the group.</param>
    /// <param name="timeout">How long a collective may take.</param>
    /// <exception cref="NativeBackendException">There is no NCCL here.</exception>
    public NcclCollectives(TcpStore store, string group, int rank, int worldSize, TimeSpan timeout)
    {
        (_store, _group, _rank, _worldSize, _timeout) = (store, group, rank, worldSize, timeout);
        NcclEnvironment.ApplyPlatform();
        _ = NcclLibrary.Loaded;
    }

    public string Backend => "nccl";

    public Work Start(IReadOnlyList<Collective> calls, bool now)
    {
        foreach (Collective call in calls)
        {
            NcclCalls.Check(call);
        }

        Tensor[] tensors = [.. calls.SelectMany(call => call.Inputs.Concat(call.Outputs)).Select(piece => piece.Tensor).Distinct()];
        return Run(calls.Count == 1 ? calls[0].ToString() : $"{calls.Count} collectives from {calls[0]}", tensors, now,
            (nccl, communicator, stream) => NcclCalls.Start(nccl, communicator, stream, calls, _rank));
    }

    public Work Send(Piece piece, int peer, int tag, string name, bool now) => Run($"Send of {name} to rank {peer}", [piece.Tensor], now,
        NcclCalls.Send(piece, peer, tag, name));

    public Work Receive(Piece piece, int peer, int tag, string name, bool now) => Run($"Receive of {name} from rank {peer}", [piece.Tensor],
        now, NcclCalls.Receive(piece, peer, tag, name));

    public void Abort(PeerLostException reason)
    {
        _failure ??= reason;
        _watch?.Fail(reason);
    }

    public void Dispose() => _watch?.Dispose();

    private Work Run(string operation, ReadOnlySpan<Tensor> tensors, bool now, Func<NcclLibrary, nint, nint, int> start)
    {
        if (tensors.Length == 0)
        {
            return Work.Done;
        }

        try
        {
            return WatchFor(tensors[0].device, operation).Start(operation, tensors, start);
        }
        catch (PeerLostException e) when (!now)
        {
            return new Work(Task.FromException(e));
        }
    }

    private NcclWatch WatchFor(torch.Device place, string operation)
    {
        int device = Math.Max(0, place.index);
        lock (_starting)
        {
            if (_watch is null)
            {
                _watch = Join(device);
                _device = device;
            }
            else if (device != _device)
            {
                throw new ArgumentException($"{operation}: the tensor is on cuda:{device}, and group {_group} works on cuda:{_device}; a "
                    + "process has one GPU");
            }

            return _watch;
        }
    }

    private NcclWatch Join(int device)
    {
        if (_failure is { } failure)
        {
            throw failure;
        }

        string key = $"nccl/{_group}";
        byte[] id;
        if (_rank == 0)
        {
            id = NcclCommunicator.NewId();
            _store.Set(key, id);
        }
        else
        {
            id = _store.Get(key, _timeout);
        }

        NcclCommunicator communicator = NcclCommunicator.Join(id, _rank, _worldSize, device, _timeout, _group, _store.Lost);
        // The store sees all ranks, and names the one at fault before a link gives up by itself.
        return new NcclWatch(communicator, _timeout + _store.Grace, _store.ReportFailure);
    }
}

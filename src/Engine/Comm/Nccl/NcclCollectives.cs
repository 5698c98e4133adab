using DeepSpeedSharp.Engine.Comm.Recording;
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
    private readonly FlightGroup? _flight;
    private readonly Lock _joining = new();
    private readonly Lock _starting = new();
    private NcclWatch? _watch;
    private int _device = -1;
    private bool _isDisposed;
    private volatile PeerLostException? _failure;

    /// <param name="store">Through which the ranks find each other.</param>
    /// <param name="group">The group's name: the same on all of its ranks, and no other group's.</param>
    /// <param name="rank">Index of this rank in the group.</param>
    /// <param name="worldSize">Number of ranks of the group.</param>
    /// <param name="timeout">How long a collective may take.</param>
    /// <param name="flight">Notes what was called.</param>
    /// <exception cref="NativeBackendException">There is no NCCL here.</exception>
    public NcclCollectives(TcpStore store, string group, int rank, int worldSize, TimeSpan timeout, FlightGroup? flight = null)
    {
        (_store, _group, _rank, _worldSize, _timeout, _flight) = (store, group, rank, worldSize, timeout, flight);
        _ = NcclLibrary.Loaded;
        _ = AbortWhenLostAsync();
    }

    public string Backend => "nccl";

    public Work Start(IReadOnlyList<Collective> calls, bool now)
    {
        foreach (Collective call in calls)
        {
            NcclCalls.Check(call);
        }

        Tensor[] tensors = [.. calls.SelectMany(call => call.Inputs.Concat(call.Outputs)).Select(piece => piece.Tensor).Distinct()];
        long[] tokens = _flight is null ? [] : [.. calls.Select(call => _flight.RecordStart(Enum.GetName(call.Kind)!, call.Name, call.Bytes, call.Type))];
        return Run(calls.Count == 1 ? calls[0].ToString() : $"{calls.Count} collectives from {calls[0]}", tensors, now, tokens,
            NcclCalls.Collectives(calls, _rank));
    }

    public Work Send(Piece piece, int peer, int tag, string name, bool now)
    {
        Func<NcclLibrary, nint, nint, int> start = NcclCalls.Send(piece, peer, tag, name);
        return Run($"Send of {name} to rank {peer}", [piece.Tensor], now, Note("Send", piece, peer, name), start);
    }

    public Work Receive(Piece piece, int peer, int tag, string name, bool now)
    {
        Func<NcclLibrary, nint, nint, int> start = NcclCalls.Receive(piece, peer, tag, name);
        return Run($"Receive of {name} from rank {peer}", [piece.Tensor], now, Note("Receive", piece, peer, name), start);
    }

    public void Abort(PeerLostException reason)
    {
        _failure ??= reason;
        lock (_starting)
        {
            if (!_isDisposed)
            {
                _watch?.Fail(reason);
            }
        }
    }

    public void Dispose()
    {
        lock (_starting)
        {
            if (_isDisposed)
            {
                return;
            }

            _isDisposed = true;
        }

        _watch?.Dispose();
    }

    // Between GPUs of one host, NCCL itself does not notice that a process has died.
    private async Task AbortWhenLostAsync() => Abort(await _store.Lost.ConfigureAwait(false));

    private long[] Note(string operation, Piece piece, int peer, string name) => _flight is null ? []
        : [_flight.RecordPeer(operation, name, piece.Length * piece.Tensor.element_size(), piece.Tensor.dtype, peer)];

    private Work Run(string operation, ReadOnlySpan<Tensor> tensors, bool now, long[] tokens, Func<NcclLibrary, nint, nint, int> start)
    {
        if (tensors.Length == 0)
        {
            return Work.Done;
        }

        try
        {
            return WatchFor(tensors[0].device, operation).Start(operation, tensors, start, _flight is null ? null : () => Array.ForEach(tokens, _flight.RecordEnd));
        }
        catch (PeerLostException e) when (!now)
        {
            return new Work(Task.FromException(e));
        }
    }

    private NcclWatch WatchFor(torch.Device place, string operation)
    {
        int device = Math.Max(0, place.index);
        // Not under the lock that an abort needs: joining waits for the other ranks.
        lock (_joining)
        {
            if (_watch is null)
            {
                NcclWatch joined = Join(device);
                lock (_starting)
                {
                    (_watch, _device) = (joined, device);
                    if (_failure is { } lost)
                    {
                        joined.Fail(lost);
                    }
                }
            }
        }

        lock (_starting)
        {
            ObjectDisposedException.ThrowIf(_isDisposed, typeof(ProcessGroup));
            if (_failure is { } failure)
            {
                throw failure;
            }

            if (device != _device)
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

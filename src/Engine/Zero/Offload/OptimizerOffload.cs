using DeepSpeedSharp.Engine.Native;
using DeepSpeedSharp.Engine.Optim;
using TorchSharp;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine.Zero;

/// <summary>Masters, moments and gradients of this rank's shard outside the training device, and the update there.</summary>
/// <remarks>
/// The host updates the first elements of the shard, piece by piece (<c>sub_group_size</c>): while one is updated, the
/// one before travels to the device, and where states are on a disk the next is read and the last one written. The
/// device updates the rest at the same time (<c>ratio</c>). Without a GPU both are the CPU, with buffers of their own.
/// Ren et al., "ZeRO-Offload", 2021, section 4; Rajbhandari et al., "ZeRO-Infinity", 2021, section 5.2.
/// </remarks>
internal sealed class OptimizerOffload : IDisposable
{
    private readonly OffloadCut _cut;
    private readonly IHostStates _states;
    private readonly WeightUpload _upload;
    private readonly Device _device;
    private readonly TensorShard _deviceMasters;
    private readonly List<TensorShard> _deviceStates = [];
    private readonly bool _isFp32;
    private FlatOptimizer? _host;
    private FlatOptimizer? _rest; // updates what is on the device

    /// <param name="cut">What the host updates.</param>
    /// <param name="states">Where its states are.</param>
    /// <param name="model">Type of the weights.</param>
    /// <param name="gradients">Type of the gradients.</param>
    /// <param name="device">Where training runs.</param>
    /// <param name="isPinned">Page-locks host memory.</param>
    public OptimizerOffload(OffloadCut cut, IHostStates states, ScalarType model, ScalarType gradients, Device device, bool isPinned)
    {
        (_cut, _states, _device, _isFp32) = (cut, states, device, model == ScalarType.Float32);
        _upload = new WeightUpload(cut.Pieces.Count > 0 ? cut.Pieces[0].Length : 0, model, device, isPinned);
        Gradients = new HostGradients(cut.Host, gradients, device, isPinned);
        _deviceMasters = new TensorShard(zeros(cut.Device, float32, device).DetachFromDisposeScope());
        Masters = Whole(states.Add("masters"), _deviceMasters);
    }

    /// <summary>The elements that the host updates: the first so many of the shard.</summary>
    public long HostElements => _cut.Host;

    /// <summary>[own]: the masters.</summary>
    public IShardBuffer Masters { get; }

    /// <summary>Gradients of the host's elements.</summary>
    public HostGradients Gradients { get; }

    /// <summary>Bytes of host memory.</summary>
    public long HostBytes => _states.HostBytes + Gradients.Bytes + _upload.HostBytes;

    /// <summary>Makes the states.</summary>
    /// <param name="host">The optimizer of the host's elements: of 0 elements, for the CPU. It tells where the states are.</param>
    /// <param name="rest">The optimizer of the device's elements: of 0 elements, with the same groups. Belongs to this object.</param>
    public void Attach(FlatOptimizer host, FlatOptimizer rest)
    {
        (_host, _rest) = (host, rest);
        host.KeepStatesIn([.. host.StateNames.Select(name =>
        {
            var onDevice = new TensorShard(zeros(_cut.Device, float32, _device).DetachFromDisposeScope());
            _deviceStates.Add(onDevice);
            return Whole(_states.Add(name), onDevice);
        })]);
        _states.Prepare(_cut.Pieces);
    }

    /// <summary>Goes on from a checkpoint.</summary>
    public void RestoreSteps(long steps) => _rest!.RestoreSteps(steps);

    /// <summary>The norm of the gradients of the whole shard; waits for those that are on their way.</summary>
    /// <param name="onDevice">[device] gradients of the elements that the device updates.</param>
    /// <returns>Scalar fp32 on the CPU; not finite when a gradient is not. The caller disposes it.</returns>
    public Tensor NormOf(Tensor onDevice)
    {
        Gradients.Settle();
        double squares = Gradients.SumOfSquares();
        if (_cut.Device > 0)
        {
            using Tensor norm = WideNorm.Of(onDevice);
            squares += Math.Pow(norm.ToSingle(), 2);
        }

        return tensor((float)Math.Sqrt(squares));
    }

    /// <summary>Updates the shard. Only when the step is known to be taken.</summary>
    /// <param name="divisor">Scalar fp32 on the CPU: what gradients are divided by.</param>
    /// <param name="weights">[own] in the model's type, on the device or on the host: receives the new weights. Not used with
    /// <paramref name="shards"/> on a disk.</param>
    /// <param name="shards">In stage 3, where the weights are; null in the others.</param>
    /// <param name="onDevice">[device] gradients of the elements that the device updates.</param>
    /// <exception cref="IOException">A disk failed; training cannot go on from here, but from a checkpoint.</exception>
    public void Update(Tensor divisor, Tensor weights, IWeightShards? shards, Tensor onDevice)
    {
        using DisposeScope scope = NewDisposeScope();
        using IDisposable noGrad = no_grad();
        Gradients.Settle();
        shards?.Settle();
        bool isOnDisk = shards is { Values: null };
        bool isOnHost = shards is HostWeightShards;
        var scale = new StepScale(divisor, null);
        _host!.BeginUpdate(scale);
        UpdateRest(divisor, weights, isOnDisk ? shards : null, onDevice);
        _upload.Begin();
        for (int i = 0; i < _cut.Pieces.Count; i++)
        {
            using DisposeScope pieceScope = NewDisposeScope();
            ElementRange piece = _cut.Pieces[i];
            IReadOnlyList<Tensor> states = _states.Take(i);
            Tensor? target = isOnDisk ? null : weights.narrow(0, piece.Start, piece.Length);
            Tensor? copy = isOnHost && !_isFp32 ? target : _upload.Buffer(i, piece.Length);
            _host.UpdatePart(piece, states[0], Gradients.Values.narrow(0, piece.Start, piece.Length), [.. states.Skip(1)], scale, copy);
            CudaEvent? sent = null;
            if (isOnDisk)
            {
                shards!.Write(piece, copy ?? states[0]);
            }
            else if (!isOnHost || _isFp32)
            {
                sent = _upload.Send(i, copy ?? states[0], target!);
            }

            _states.Give(i, copy is null ? sent : null);
        }

        _states.Finish();
        _upload.End(waits: _isFp32);
    }

    public void Dispose()
    {
        _upload.Dispose();
        Gradients.Dispose();
        _states.Dispose();
        _rest?.Dispose();
        _deviceMasters.Dispose();
        _deviceStates.ForEach(state => state.Dispose());
    }

    // Started first: the device works while the host does.
    private void UpdateRest(Tensor divisor, Tensor weights, IWeightShards? shards, Tensor onDevice)
    {
        if (_cut.Device == 0)
        {
            return;
        }

        var range = new ElementRange(_cut.Host, _cut.Device);
        var scale = new StepScale(divisor.to(_device), null);
        Tensor? own = shards is null ? weights.narrow(0, range.Start, range.Length) : null;
        Tensor[] states = [.. _deviceStates.Select(state => state.Tensor)];
        _rest!.BeginUpdate(scale);
        Tensor? copy = _isFp32 || own?.device_type != _device.type ? null : own;
        _rest.UpdatePart(range, _deviceMasters.Tensor, onDevice, states, scale, copy);
        if (own is null)
        {
            shards!.Write(range, _deviceMasters.Tensor);
        }
        else if (copy is null)
        {
            own.copy_(_deviceMasters.Tensor);
        }
    }

    private IShardBuffer Whole(IShardBuffer host, TensorShard onDevice) => _cut.Device == 0 ? host
        : _cut.Host == 0 ? onDevice : new SplitShard(host, onDevice);
}

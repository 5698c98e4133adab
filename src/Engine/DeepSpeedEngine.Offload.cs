using DeepSpeedSharp.Config;
using DeepSpeedSharp.Engine.Zero;

namespace DeepSpeedSharp.Engine;

/// <content>State that leaves the device between steps.</content>
public sealed partial class DeepSpeedEngine
{
    private MovedStates? _moved;
    private MovedStates? _reloaded; // its host memory may still be read from

    /// <summary>Moves state from the device to the host until <see cref="ReloadStates"/>, for example while another model uses the
    /// GPU. Nothing can be trained, saved or loaded meanwhile, and the model's parameters read as NaN.</summary>
    /// <remarks>State that <c>offload_optimizer</c> and <c>offload_param</c> keep outside the device stays where it is. In ZeRO
    /// stage 3 parameters that stay gathered (<c>stage3_param_persistence_threshold</c>) stay on the device.</remarks>
    /// <param name="include">What to move; null is everything.</param>
    /// <param name="device">Where to; only <see cref="OffloadDevice.Cpu"/>.</param>
    /// <param name="pinMemory">Page-locks the host memory: slower to take, faster to copy.</param>
    /// <param name="nonBlocking">Does not wait for the copies.</param>
    /// <exception cref="InvalidOperationException">States are moved already.</exception>
    /// <exception cref="ArgumentException">There is no such place.</exception>
    public void OffloadStates(IReadOnlyCollection<OffloadStateType>? include = null, OffloadDevice device = OffloadDevice.Cpu,
        bool pinMemory = true, bool nonBlocking = false)
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        ThrowIfMoved(nameof(OffloadStates));
        if (device != OffloadDevice.Cpu)
        {
            throw new ArgumentException($"states can be moved to the CPU, not to {device}; for a disk set zero_optimization's offload_optimizer "
                + "and offload_param", nameof(device));
        }

        FinishReduction();
        Settle();
        _reloaded?.Dispose();
        _reloaded = null;
        bool Asks(OffloadStateType type) => include?.Contains(type) ?? true;
        IEnumerable<Tensor> states = Asks(OffloadStateType.OptimStates)
            ? Optimizer.States.Select(s => s.State).OfType<TensorShard>().Where(s => s.DeviceBytes > 0).Select(s => s.Tensor) : [];
        _moved = new MovedStates([.. states, .. _parameters.Leave(Asks(OffloadStateType.HpParams), Asks(OffloadStateType.LpParams),
            Asks(OffloadStateType.LpGrads))], Device, pinMemory, !nonBlocking);
    }

    /// <summary>Brings back what <see cref="OffloadStates"/> has moved.</summary>
    /// <param name="nonBlocking">Does not wait for the copies; what the GPU is given next comes after them.</param>
    public void ReloadStates(bool nonBlocking = false)
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        if (_moved is not { } moved)
        {
            return;
        }

        moved.Reload(!nonBlocking);
        _parameters.Return();
        (_moved, _reloaded) = (null, moved);
        if (!nonBlocking)
        {
            moved.Dispose();
            _reloaded = null;
        }
    }

    /// <summary>In ZeRO stage 3, releases parameters that a forward without an end has left gathered; those that are to stay gathered
    /// do. Nothing in the other stages.</summary>
    public void EmptyPartitionCache()
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        _zero.AbandonForward();
    }

    private void ThrowIfMoved(string call)
    {
        if (_moved is not null)
        {
            throw new InvalidOperationException($"{call} was called while states are on the host; call ReloadStates() first");
        }
    }
}

using System.Runtime.InteropServices;
using DeepSpeedSharp.Engine.Comm;
using DeepSpeedSharp.Engine.Native;
using DeepSpeedSharp.Engine.Precision;
using TorchSharp;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine;

/// <summary>What the ranks measured in a step, brought to the host without stopping the GPU.</summary>
/// <remarks>
/// The numbers are collected on the device. On a GPU they are copied behind the step's work and read when somebody asks,
/// which is usually a step later, when they have long arrived. Where the ranks' sums go through host memory, that brings
/// them to the host anyway.
/// </remarks>
internal sealed class StepReport : IDisposable
{
    /// <summary>The numbers of one step.</summary>
    /// <param name="Loss">Sum of losses over ranks and micro batches.</param>
    /// <param name="StopRequests">Ranks that have asked to stop.</param>
    /// <param name="Norm">Global gradient norm; not finite when the gradients were not.</param>
    /// <param name="IsOverflow">Whether the step was skipped.</param>
    public readonly record struct Values(double Loss, double StopRequests, double Norm, bool IsOverflow);

    /// <summary>Numbers that are on their way.</summary>
    public sealed class Arrival(Tensor host, CudaEvent? arrived, Work summed, bool isShared) : IDisposable
    {
        private Values? _values;

        /// <summary>Whether <see cref="Read"/> returns at once. With several ranks on GPUs not before it was read: the numbers arrive
        /// at different times, and ranks that act on that would part.</summary>
        public bool IsReady => _values is not null || arrived is null || (!isShared && arrived.IsDone);

        /// <summary>The numbers; waits for the GPU to finish that step if it has not.</summary>
        /// <exception cref="PeerLostException">Another rank ended or hangs: the GPU's numbers are then no sums.</exception>
        public Values Read()
        {
            if (_values is null)
            {
                arrived?.Wait();
                summed.Completion.GetAwaiter().GetResult();
                ReadOnlySpan<float> v = MemoryMarshal.Cast<byte, float>(TensorMemory.Bytes(host).Span);
                _values = new Values(v[0], v[1], v[2], v[3] != 0);
                Dispose();
            }

            return _values.Value;
        }

        public void Dispose()
        {
            host.Dispose();
            arrived?.Dispose();
        }
    }

    private readonly ProcessGroup _group;
    private readonly Tensor _device; // [4] fp32: loss, stop, norm, overflow
    private readonly Tensor _loss, _stop, _norm, _overflow, _summed; // views of it

    public StepReport(ProcessGroup group, Device device)
    {
        _group = group;
        _device = zeros(4, float32, device).DetachFromDisposeScope();
        (_loss, _stop, _norm, _overflow) = (View(0), View(1), View(2), View(3));
        _summed = _device.narrow(0, 0, 2).DetachFromDisposeScope();

        Tensor View(int index) => _device.narrow(0, index, 1).DetachFromDisposeScope();
    }

    /// <summary>Adds the loss of a micro batch.</summary>
    public void AddLoss(Tensor loss)
    {
        using IDisposable noGrad = no_grad();
        using Tensor detached = loss.detach();
        using Tensor single = detached.reshape(1); // a loss of one element may have any shape
        _loss.add_(single).DetachFromDisposeScope();
    }

    /// <summary>Forgets the losses of a step that is not to be taken.</summary>
    public void Clear()
    {
        using IDisposable noGrad = no_grad();
        _device.zero_().DetachFromDisposeScope();
    }

    /// <summary>Shares the numbers with all ranks and sends them to the host.</summary>
    /// <param name="scale">Norm and overflow of this step, the same on every rank.</param>
    /// <param name="stop">Whether this rank asks to stop.</param>
    /// <exception cref="PeerLostException">Another rank ended or hangs.</exception>
    public Arrival Send(GradientScale scale, bool stop)
    {
        using DisposeScope scope = NewDisposeScope();
        using IDisposable noGrad = no_grad();
        _norm.copy_(scale.Norm);
        if (scale.Overflow is { } overflow)
        {
            _overflow.copy_(overflow);
        }

        if (stop)
        {
            _stop.fill_(1);
        }

        Work summed = _group.AllReduceAsync(_summed, "step report");
        summed.Wait();
        bool isDeferred = _device.device_type == DeviceType.CUDA && (_group.WorldSize == 1 || _group.Backend == "nccl") && CudaEvent.IsAvailable;
        Tensor host = isDeferred ? zeros(4, float32).pin_memory() : empty(4, float32);
        CudaEvent? arrived = null;
        host.copy_(_device, nonBlocking: isDeferred);
        if (isDeferred)
        {
            int index = Math.Max(0, _device.device_index);
            using CudaDevice.Scope device = CudaDevice.Use(index);
            arrived = new CudaEvent();
            arrived.Record(CudaStream.Current(index));
        }

        _device.zero_();
        return new Arrival(host.DetachFromDisposeScope(), arrived, summed, _group.WorldSize > 1);
    }

    public void Dispose()
    {
        foreach (Tensor tensor in (ReadOnlySpan<Tensor>)[_loss, _stop, _norm, _overflow, _summed, _device])
        {
            tensor.Dispose();
        }
    }
}

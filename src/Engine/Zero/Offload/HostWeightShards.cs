using DeepSpeedSharp.Engine.Comm;
using DeepSpeedSharp.Engine.Native;
using TorchSharp;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine.Zero;

/// <summary>Weights in host memory; a GPU fetches them on a stream of its own, so that what is fetched ahead comes while it
/// computes.</summary>
internal sealed class HostWeightShards : IWeightShards
{
    private readonly HostMemory _memory;
    private readonly Tensor _values;
    private readonly CopyStream? _stream;

    /// <param name="elements">How many.</param>
    /// <param name="type">Type of the weights.</param>
    /// <param name="device">Where they are used.</param>
    /// <param name="isPinned">Page-locks the memory.</param>
    public HostWeightShards(long elements, ScalarType type, Device device, bool isPinned)
    {
        _memory = new HostMemory(elements * type.ElementSize(), isPinned);
        _values = _memory.View(0, elements, type);
        _stream = device.type == DeviceType.CUDA ? new CopyStream(device.index) : null;
    }

    public long Elements => _values.numel();

    public long DeviceBytes => 0;

    public Tensor Values => _values;

    public Work Read(ElementRange part, Tensor destination)
    {
        using DisposeScope scope = NewDisposeScope();
        using IDisposable noGrad = no_grad();
        Tensor source = _values.narrow(0, part.Start, part.Length);
        if (_stream is not { } stream)
        {
            destination.copy_(source);
            return Work.Done;
        }

        stream.AfterComputing(); // the memory may have been somebody else's until now
        stream.Copy(TensorMemory.Address(destination), TensorMemory.Address(source), part.Length * source.element_size());
        CudaEvent copied = stream.Mark();
        return new Work(Task.CompletedTask, () =>
        {
            using (copied)
            {
                stream.ComputingAfter(copied);
            }
        });
    }

    public void Write(ElementRange part, Tensor values)
    {
        using DisposeScope scope = NewDisposeScope();
        using IDisposable noGrad = no_grad();
        Settle();
        _values.narrow(0, part.Start, part.Length).copy_(values);
    }

    public void Settle() => _stream?.Wait();

    public void Dispose()
    {
        _stream?.Dispose();
        _values.Dispose();
        _memory.Dispose();
    }
}

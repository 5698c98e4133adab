using DeepSpeedSharp.Engine.Native;
using TorchSharp;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine.Zero;

/// <summary>Buffers whose contents are in host memory for a while, so that the device's memory serves something else.</summary>
/// <remarks>The tensors and all their views stay what they are, without memory; see <see cref="StorageMemory"/>.</remarks>
internal sealed class MovedStates : IDisposable
{
    private sealed record Moved(Tensor Tensor, long Elements, HostMemory Memory, Tensor Copy);

    private readonly List<Moved> _moved = [];
    private readonly CopyStream? _stream;

    /// <summary>Moves buffers to the host.</summary>
    /// <param name="tensors">[n] each, contiguous, in one dimension and the only owner of their storage besides views.</param>
    /// <param name="device">Where they are.</param>
    /// <param name="isPinned">Page-locks the host memory.</param>
    /// <param name="waits">Returns when all is there; otherwise what the device is given next comes after the copies.</param>
    public MovedStates(IEnumerable<Tensor> tensors, Device device, bool isPinned, bool waits)
    {
        _stream = device.type == DeviceType.CUDA ? new CopyStream(device.index) : null;
        using IDisposable noGrad = no_grad();
        foreach (Tensor tensor in tensors.Where(t => t.numel() > 0))
        {
            var memory = new HostMemory(tensor.numel() * tensor.element_size(), isPinned);
            var moved = new Moved(tensor, tensor.numel(), memory, memory.View(0, tensor.numel(), tensor.dtype));
            Copy(moved.Copy, tensor);
            _moved.Add(moved);
            StorageMemory.Free(tensor);
        }

        if (waits)
        {
            _stream?.Wait();
        }
    }

    /// <summary>Bytes that were taken from the device.</summary>
    public long Bytes => _moved.Sum(moved => moved.Elements * moved.Copy.element_size());

    /// <summary>Brings everything back.</summary>
    /// <param name="waits">As for the constructor.</param>
    public void Reload(bool waits)
    {
        using IDisposable noGrad = no_grad();
        foreach (Moved moved in _moved)
        {
            StorageMemory.Take(moved.Tensor, moved.Elements);
            Copy(moved.Tensor, moved.Copy);
        }

        if (waits)
        {
            _stream?.Wait();
        }
    }

    public void Dispose()
    {
        _stream?.Dispose(); // when its copies have ended
        foreach (Moved moved in _moved)
        {
            moved.Copy.Dispose();
            moved.Memory.Dispose();
        }

        _moved.Clear();
    }

    private void Copy(Tensor destination, Tensor source)
    {
        if (_stream is not { } stream)
        {
            destination.copy_(source).DetachFromDisposeScope();
            return;
        }

        stream.AfterComputing();
        stream.Copy(TensorMemory.Address(destination), TensorMemory.Address(source), source.numel() * source.element_size());
        using CudaEvent copied = stream.Mark();
        stream.ComputingAfter(copied); // the device's memory is somebody else's, or read, only then
    }
}

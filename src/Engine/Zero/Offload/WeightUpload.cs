using DeepSpeedSharp.Engine.Native;
using TorchSharp;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine.Zero;

/// <summary>Brings updated weights from the host to where the model reads them, piece after piece, while the next piece is
/// updated.</summary>
internal sealed class WeightUpload : IDisposable
{
    private readonly HostMemory? _memory;
    private readonly Tensor[] _copies = []; // two of [longest piece], in the model's type
    private readonly CudaEvent?[] _copied = new CudaEvent?[2];
    private readonly CopyStream? _stream;
    private CudaEvent? _last;

    /// <param name="longest">Elements of the longest piece.</param>
    /// <param name="model">Type of the weights; of fp32 the masters themselves are copied.</param>
    /// <param name="device">Where the weights are.</param>
    /// <param name="isPinned">Page-locks the buffers.</param>
    public WeightUpload(long longest, ScalarType model, Device device, bool isPinned)
    {
        _stream = device.type == DeviceType.CUDA ? new CopyStream(device.index) : null;
        if (model != ScalarType.Float32 && longest > 0)
        {
            long bytes = (longest * model.ElementSize() + 4095) / 4096 * 4096;
            _memory = new HostMemory(2 * bytes, isPinned);
            _copies = [_memory.View(0, longest, model), _memory.View(bytes, longest, model)];
        }
    }

    /// <summary>Bytes of host memory.</summary>
    public long HostBytes => _memory?.Bytes ?? 0;

    /// <summary>Where to write the rounded values of a piece; waits until an earlier piece has left it.</summary>
    /// <param name="index">Number of the piece.</param>
    /// <param name="elements">Its length.</param>
    /// <returns>[elements] in the model's type; null in fp32, where the values themselves are sent.</returns>
    public Tensor? Buffer(int index, long elements)
    {
        if (_copies.Length == 0)
        {
            return null;
        }

        _copied[index % 2]?.Wait();
        return _copies[index % 2].narrow(0, 0, elements);
    }

    /// <summary>Starts bringing a piece over.</summary>
    /// <param name="index">Number of the piece.</param>
    /// <param name="values">What <see cref="Buffer"/> gave, or the values.</param>
    /// <param name="weights">Where they go.</param>
    /// <returns>The mark after which the source may be changed; null when it may be at once. Valid until the piece after the next.</returns>
    public CudaEvent? Send(int index, Tensor values, Tensor weights)
    {
        if (_stream is null || weights.device_type == DeviceType.CPU)
        {
            weights.copy_(values);
            return null;
        }

        _stream.Copy(TensorMemory.Address(weights), TensorMemory.Address(values), values.numel() * values.element_size());
        _copied[index % 2]?.Dispose();
        return _last = _copied[index % 2] = _stream.Mark();
    }

    /// <summary>Call before the first piece: the copies come after what the device has been given so far.</summary>
    public void Begin() => _stream?.AfterComputing();

    /// <summary>Call after the last piece: what the device is given next comes after the copies.</summary>
    /// <param name="waits">Waits for them, where their source is going to change.</param>
    public void End(bool waits)
    {
        if (_last is not null)
        {
            _stream!.ComputingAfter(_last);
            _last = null;
        }

        if (waits)
        {
            _stream?.Wait();
        }
    }

    public void Dispose()
    {
        _stream?.Dispose();
        foreach (CudaEvent? mark in _copied)
        {
            mark?.Dispose();
        }

        foreach (Tensor copy in _copies)
        {
            copy.Dispose();
        }

        _memory?.Dispose();
    }
}

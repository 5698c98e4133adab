using TorchSharp;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine.Zero;

/// <summary>Where this rank's part of the weights lies between uses. The only place that knows.</summary>
/// <remarks>Stage 3 reads parts of it into buffers on the training device, and the optimizer's results go back to it.
/// What lies in another place than the device has to make both as if it did not.</remarks>
internal sealed class WeightShards : IDisposable
{
    private readonly Tensor _values;

    /// <param name="values">[own] in the model's type; belongs to this object from now on.</param>
    public WeightShards(Tensor values) => _values = values;

    /// <summary>Elements that this rank has, padding included.</summary>
    public long Elements => _values.numel();

    /// <summary>Bytes that they take on the training device.</summary>
    public long DeviceBytes => _values.numel() * _values.element_size();

    /// <summary>Copies a part to the training device.</summary>
    /// <param name="part">Elements of the shard.</param>
    /// <param name="destination">As many elements, in the model's type; the copy is ordered with what the caller starts next.</param>
    public void Read(ElementRange part, Tensor destination)
    {
        using DisposeScope scope = NewDisposeScope();
        using IDisposable noGrad = no_grad();
        destination.copy_(_values.narrow(0, part.Start, part.Length));
    }

    /// <summary>Replaces a part.</summary>
    /// <param name="part">Elements of the shard.</param>
    /// <param name="values">As many elements, of any floating type and on any device.</param>
    public void Write(ElementRange part, Tensor values)
    {
        using DisposeScope scope = NewDisposeScope();
        using IDisposable noGrad = no_grad();
        _values.narrow(0, part.Start, part.Length).copy_(values);
    }

    /// <summary>[own]: what the optimizer writes its results to.</summary>
    public Tensor Updated => _values;

    public void Dispose() => _values.Dispose();
}

using DeepSpeedSharp.Engine.Comm;
using TorchSharp;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine.Zero;

/// <summary>Weights on the training device.</summary>
internal sealed class WeightShards : IWeightShards
{
    private readonly Tensor _values;

    /// <param name="values">[own] in the model's type; belongs to this object from now on.</param>
    public WeightShards(Tensor values) => _values = values;

    public long Elements => _values.numel();

    public long DeviceBytes => _values.numel() * _values.element_size();

    public Tensor Values => _values;

    public Work Read(ElementRange part, Tensor destination)
    {
        using DisposeScope scope = NewDisposeScope();
        using IDisposable noGrad = no_grad();
        destination.copy_(_values.narrow(0, part.Start, part.Length));
        return Work.Done;
    }

    public void Write(ElementRange part, Tensor values)
    {
        using DisposeScope scope = NewDisposeScope();
        using IDisposable noGrad = no_grad();
        _values.narrow(0, part.Start, part.Length).copy_(values);
    }

    public void Settle()
    {
        // Reads and changes are in the same order on the device.
    }

    public void Dispose() => _values.Dispose();
}

using DeepSpeedSharp.Engine.Native;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine.ActivationCheckpointing;

/// <summary>Where libtorch's random numbers stand, on the CPU and on one GPU.</summary>
internal sealed class RandomSnapshot : IDisposable
{
    private readonly Tensor _cpu;
    private readonly Tensor? _cuda;
    private readonly int _cudaDevice;

    /// <summary>Notes the current state.</summary>
    /// <param name="cudaDevice">Index of the GPU, or null.</param>
    public RandomSnapshot(int? cudaDevice)
    {
        _cpu = get_rng_state().DetachFromDisposeScope();
        _cudaDevice = cudaDevice ?? -1;
        _cuda = cudaDevice is { } index ? CudaRandom.Get(index).DetachFromDisposeScope() : null;
    }

    /// <summary>Goes back to the noted state.</summary>
    public void Restore()
    {
        set_rng_state(_cpu);
        if (_cuda is not null)
        {
            CudaRandom.Set(_cudaDevice, _cuda);
        }
    }

    public void Dispose()
    {
        _cpu.Dispose();
        _cuda?.Dispose();
    }
}

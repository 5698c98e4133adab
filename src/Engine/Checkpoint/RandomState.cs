using DeepSpeedSharp.Engine.Native;
using TorchSharp;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine.Checkpoint;

/// <summary>The state of this rank's random numbers, so that dropout goes on where it was.</summary>
internal static class RandomState
{
    private const string Cpu = "random.cpu";
    private const string Cuda = "random.cuda";

    /// <summary>The state, as named tensors; the caller disposes them.</summary>
    /// <param name="device">Where this rank trains.</param>
    public static IReadOnlyList<(string Name, Tensor State)> Get(Device device) => device.type == DeviceType.CUDA
        ? [(Cpu, get_rng_state()), (Cuda, CudaRandom.Get(device.index))]
        : [(Cpu, get_rng_state())];

    /// <summary>Restores what a file has of it; a rank that moved between CPU and GPU keeps fresh numbers there.</summary>
    public static void Set(SafetensorsReader reader, Device device)
    {
        using Tensor cpu = reader.Read(Cpu);
        set_rng_state(cpu);
        if (device.type == DeviceType.CUDA && reader.Names.Contains(Cuda))
        {
            using Tensor cuda = reader.Read(Cuda);
            CudaRandom.Set(device.index, cuda);
        }
    }
}

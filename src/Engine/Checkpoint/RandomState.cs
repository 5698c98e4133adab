using DeepSpeedSharp.Engine.Native;
using TorchSharp;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine.Checkpoint;

/// <summary>The state of this rank's random numbers, so that dropout goes on where it was.</summary>
internal static class RandomState
{
    private const string Cpu = "random.cpu";
    private const string Cuda = "random.cuda";

    /// <summary>The state, as tensors that are this rank's alone; the caller disposes them.</summary>
    /// <param name="device">Where this rank trains.</param>
    public static IReadOnlyList<(string State, Tensor Value)> Get(Device device) => device.type == DeviceType.CUDA
        ? [(Cpu, get_rng_state()), (Cuda, CudaRandom.Get(device.index))]
        : [(Cpu, get_rng_state())];

    /// <summary>Restores what a checkpoint has of it; a rank that moved between CPU and GPU keeps fresh numbers there.</summary>
    /// <param name="tensors">The checkpoint.</param>
    /// <param name="rank">This rank.</param>
    /// <param name="device">Where it trains.</param>
    public static void Set(CheckpointTensors tensors, int rank, Device device)
    {
        if (Read(tensors, Cpu, rank) is { } cpu)
        {
            set_rng_state(cpu);
        }

        if (device.type == DeviceType.CUDA && Read(tensors, Cuda, rank) is { } cuda)
        {
            CudaRandom.Set(device.index, cuda);
        }
    }

    // In the scope of the caller.
    private static Tensor? Read(CheckpointTensors tensors, string state, int rank)
    {
        if (tensors.Manifest.Tensors.FirstOrDefault(t => t.State == state && t.Name == ShardFiles.OwnName(rank)) is not { } tensor)
        {
            return null;
        }

        Tensor value = empty(tensor.Elements, SafetensorsReader.TypeOf(tensor.Type));
        tensors.Read(tensor, 0, TensorMemory.Bytes(value).Span);
        return value;
    }
}

using DeepSpeedSharp.Engine.Native;
using TorchSharp;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine;

/// <summary>A buffer in memory.</summary>
/// <param name="tensor">[n] fp32, contiguous. The buffer owns it.</param>
/// <param name="memory">The host memory below it, where that is not libtorch's; null otherwise.</param>
/// <param name="isOnDevice">Whether it takes memory of the training device.</param>
internal sealed class TensorShard(Tensor tensor, HostMemory? memory = null, bool isOnDevice = true) : IShardBuffer
{
    /// <summary>All of it.</summary>
    public Tensor Tensor => tensor;

    public long Elements { get; } = tensor.numel();

    public long DeviceBytes => isOnDevice ? Elements * sizeof(float) : 0;

    public Tensor Read(ElementRange range) => tensor.narrow(0, range.Start, range.Length);

    public void Write(long start, Tensor values)
    {
        using DisposeScope scope = NewDisposeScope();
        using IDisposable noGrad = no_grad();
        tensor.narrow(0, start, values.numel()).copy_(values);
    }

    public void Dispose()
    {
        tensor.Dispose();
        memory?.Dispose();
    }
}

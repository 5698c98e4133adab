using System.Runtime.InteropServices;
using TorchSharp;

namespace DeepSpeedSharp.Engine.Native;

/// <summary>The state of a GPU's default random numbers, which TorchSharp does not reach.</summary>
internal static unsafe partial class CudaRandom
{
    /// <summary>The state of a device's generator; the caller disposes it.</summary>
    public static Tensor Get(int device) => Tensor.UnsafeCreateTensor(THSGenerator_get_rng_state(Generator(device)));

    /// <summary>Restores the state of a device's generator.</summary>
    public static void Set(int device, Tensor state) => THSGenerator_set_rng_state(Generator(device), state.Handle);

    // at::cuda::detail::getDefaultCUDAGenerator(DeviceIndex) gives a reference that lives as long as the process.
    private static nint Generator(int device)
    {
        nint library = NativeLibrary.Load("torch_cuda", typeof(torch).Assembly, null);
        var function = (delegate* unmanaged<sbyte, nint>)NativeLibrary.GetExport(library,
            "_ZN2at4cuda6detail23getDefaultCUDAGeneratorEa");
        return function((sbyte)device);
    }

    [LibraryImport("LibTorchSharp")]
    private static partial nint THSGenerator_get_rng_state(nint generator);

    [LibraryImport("LibTorchSharp")]
    private static partial void THSGenerator_set_rng_state(nint generator, nint state);
}

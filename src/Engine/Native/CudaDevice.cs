using System.Runtime.InteropServices;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine.Native;

/// <summary>CUDA's current device of a thread.</summary>
internal static unsafe class CudaDevice
{
    private static readonly delegate* unmanaged<int*, int> Get = (delegate* unmanaged<int*, int>)CudaRuntime.Symbol("cudaGetDevice");
    private static readonly delegate* unmanaged<int, int> SetCurrent = (delegate* unmanaged<int, int>)CudaRuntime.Symbol("cudaSetDevice");

    // Null where the driver does not say; then the device that was current is restored in any case.
    private static readonly delegate* unmanaged<int, uint*, int*, int> GetState = Driver();

    /// <summary>Makes a device current on this thread for good, as <c>torch.cuda.set_device</c>: a thread begins with GPU 0, and what
    /// names no device goes there.</summary>
    /// <param name="device">The device; nothing happens when it is not a GPU.</param>
    public static void Set(Device device)
    {
        if (device.type == TorchSharp.DeviceType.CUDA && CudaRuntime.Library != 0)
        {
            Set(Math.Max(0, device.index));
        }
    }

    /// <summary>The same by index.</summary>
    public static void Set(int device) => CudaRuntime.Check(SetCurrent(device), "cudaSetDevice");

    /// <summary>Makes a device current until the result is disposed, on the same thread.</summary>
    /// <param name="device">Index of the GPU.</param>
    public static Scope Use(int device)
    {
        int before;
        CudaRuntime.Check(Get(&before), "cudaGetDevice");
        if (before != device)
        {
            Set(device);
        }

        return new Scope(before, device);
    }

    /// <summary>Restores the device that was current before, where this process has used it: making it current would put
    /// a context of some hundred MiB on a GPU that is another rank's.</summary>
    public readonly ref struct Scope(int before, int device)
    {
        public void Dispose()
        {
            if (before != device && IsUsed(before))
            {
                _ = SetCurrent(before);
            }
        }
    }

    private static bool IsUsed(int device)
    {
        uint flags;
        int active;
        return GetState == null || GetState(device, &flags, &active) != 0 || active != 0;
    }

    private static delegate* unmanaged<int, uint*, int*, int> Driver() => NativeLibrary.TryLoad("libcuda.so.1", out nint driver)
        && NativeLibrary.TryGetExport(driver, "cuDevicePrimaryCtxGetState", out nint function)
        ? (delegate* unmanaged<int, uint*, int*, int>)function : null;
}

using System.Globalization;
using System.Runtime.InteropServices;
using System.Text;
using TorchSharp;

namespace DeepSpeedSharp.Engine.Native;

/// <summary>What the NVIDIA libraries of this machine say about themselves; null where one is absent.</summary>
/// <remarks>
/// Nothing here is linked: each library is looked up by name, so that a machine without a GPU loads the engine too.
/// All functions used keep their signature over the versions of their library.
/// </remarks>
internal static unsafe class NvidiaDriver
{
    private const int NameBytes = 128;

    /// <summary>Name of a GPU, as "NVIDIA H100 80GB HBM3".</summary>
    /// <param name="ordinal">CUDA's number of the device, after CUDA_VISIBLE_DEVICES.</param>
    public static string? DeviceName(int ordinal)
    {
        // The CUDA driver's numbers are those of torch; NVML's would not know of CUDA_VISIBLE_DEVICES.
        if (!NativeLibrary.TryLoad("libcuda.so.1", out nint driver)
            || !NativeLibrary.TryGetExport(driver, "cuInit", out nint initialise)
            || !NativeLibrary.TryGetExport(driver, "cuDeviceGet", out nint get)
            || !NativeLibrary.TryGetExport(driver, "cuDeviceGetName", out nint name))
        {
            return null;
        }

        int device;
        byte* text = stackalloc byte[NameBytes];
        return ((delegate* unmanaged<uint, int>)initialise)(0) == 0
            && ((delegate* unmanaged<int*, int, int>)get)(&device, ordinal) == 0
            && ((delegate* unmanaged<byte*, int, int, int>)name)(text, NameBytes, device) == 0
                ? Text(text, NameBytes) : null;
    }

    /// <summary>Version of the driver, as "570.86.15", from NVML.</summary>
    public static string? Version()
    {
        if (!NativeLibrary.TryLoad("libnvidia-ml.so.1", out nint nvml)
            || !NativeLibrary.TryGetExport(nvml, "nvmlInit_v2", out nint initialise)
            || !NativeLibrary.TryGetExport(nvml, "nvmlSystemGetDriverVersion", out nint version)
            || !NativeLibrary.TryGetExport(nvml, "nvmlShutdown", out nint shutdown)
            || ((delegate* unmanaged<int>)initialise)() != 0)
        {
            return null;
        }

        byte* text = stackalloc byte[NameBytes];
        int error = ((delegate* unmanaged<byte*, uint, int>)version)(text, NameBytes);
        _ = ((delegate* unmanaged<int>)shutdown)();
        return error == 0 ? Text(text, NameBytes) : null;
    }

    /// <summary>Version of the CUDA runtime that libtorch uses, as "12.8".</summary>
    public static string? CudaVersion() => Number("cudaRuntimeGetVersion", "libcudart.so.12", "libcudart.so.13") is { } n
        ? string.Create(CultureInfo.InvariantCulture, $"{n / 1000}.{n % 1000 / 10}") : null;

    /// <summary>Version of NCCL, as "2.27.3".</summary>
    public static string? NcclVersion() => Number("ncclGetVersion", "libnccl.so.2") is { } n ? NcclText(n) : null;

    /// <summary>NCCL's version number as text: the form changed with 2.9 (nccl.h, NCCL_VERSION).</summary>
    internal static string NcclText(int number) => number < 10_000
        ? string.Create(CultureInfo.InvariantCulture, $"{number / 1000}.{number % 1000 / 100}.{number % 100}")
        : string.Create(CultureInfo.InvariantCulture, $"{number / 10_000}.{number % 10_000 / 100}.{number % 100}");

    // Looked up through libtorch first: a symbol found so is the one that libtorch itself calls, whether linked into it
    // or in a library of its own, whatever that file's name.
    private static int? Number(string function, params ReadOnlySpan<string> libraries)
    {
        if (NativeLibrary.TryLoad("torch_cuda", typeof(torch).Assembly, null, out nint torchCuda)
            && NativeLibrary.TryGetExport(torchCuda, function, out nint address))
        {
            return Call(address);
        }

        foreach (string library in libraries)
        {
            if (NativeLibrary.TryLoad(library, out nint handle)
                && NativeLibrary.TryGetExport(handle, function, out address))
            {
                return Call(address);
            }
        }

        return null;
    }

    private static int? Call(nint function)
    {
        int number = 0;
        return ((delegate* unmanaged<int*, int>)function)(&number) == 0 && number > 0 ? number : null;
    }

    private static string? Text(byte* text, int capacity)
    {
        var bytes = new ReadOnlySpan<byte>(text, capacity);
        int end = bytes.IndexOf((byte)0);
        return end > 0 ? Encoding.UTF8.GetString(bytes[..end]) : null;
    }
}

using System.Runtime.InteropServices;
using TorchSharp;

namespace DeepSpeedSharp.Engine.Native;

/// <summary>CUDA's runtime library: the one that libtorch works with, where there are several.</summary>
internal static class CudaRuntime
{
    private static readonly Lazy<nint> Loaded = new(Find);

    /// <summary>Its handle; 0 when there is none.</summary>
    public static nint Library => Loaded.Value;

    /// <summary>Address of one of its functions; 0 when there is none.</summary>
    public static nint Symbol(string name) =>
        Library != 0 && NativeLibrary.TryGetExport(Library, name, out nint address) ? address : 0;

    /// <summary>Throws when a function did not return success.</summary>
    public static void Check(int status, string function)
    {
        if (status != 0)
        {
            throw new InvalidOperationException($"{function} failed with CUDA error {status}");
        }
    }

    // Asked for through libtorch, a function is the one that libtorch itself calls. A toolkit on the search path may be
    // newer than that, and than the driver bears.
    private static nint Find()
    {
        if (NativeLibrary.TryLoad("torch_cuda", typeof(torch).Assembly, null, out nint torchCuda)
            && NativeLibrary.TryGetExport(torchCuda, "cudaEventRecord", out _))
        {
            return torchCuda;
        }

        foreach (string name in (ReadOnlySpan<string>)["libcudart.so.12", "libcudart.so.13"])
        {
            if (NativeLibrary.TryLoad(name, out nint handle))
            {
                return handle;
            }
        }

        return 0;
    }
}

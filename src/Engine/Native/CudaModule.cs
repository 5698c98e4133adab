using System.Runtime.InteropServices;
using System.Text;
using TorchSharp;

namespace DeepSpeedSharp.Engine.Native;

/// <summary>CUDA C source, compiled for this machine's GPU when it is first used, and its kernels.</summary>
/// <remarks>NVRTC comes with every libtorch for CUDA. The driver's own interface loads the result into the context that
/// libtorch works in. Kernels go to libtorch's current stream, in order with its own.</remarks>
internal sealed unsafe class CudaModule
{
    private const int ComputeCapabilityMajor = 75, ComputeCapabilityMinor = 76;

    private readonly nint _module;

    private CudaModule(nint module) => _module = module;

    /// <summary>Compiles source for a device.</summary>
    /// <param name="source">CUDA C; kernels are <c>extern "C"</c>.</param>
    /// <param name="device">Index of the device.</param>
    /// <returns>The module, or the reason why there is none; kept until the process ends.</returns>
    public static (CudaModule? Module, string? Reason) Compile(string source, int device)
    {
        try
        {
            nint nvrtc = Library("libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so");
            nint driver = Library("libcuda.so.1");
            // The device's context is there once something of libtorch has run on it, and it must be the current one.
            using CudaDevice.Scope scope = CudaDevice.Use(device);
            torch.zeros(1, device: new torch.Device(DeviceType.CUDA, device)).DetachFromDisposeScope().Dispose();
            if (CurrentStream == null || LaunchKernel == null)
            {
                throw new EntryPointNotFoundException("kernels cannot be launched");
            }

            byte[] image = Build(nvrtc, source, Architecture(driver, device));
            nint module;
            fixed (byte* data = image)
            {
                Check(((delegate* unmanaged<nint*, byte*, int>)Export(driver, "cuModuleLoadData"))(&module, data), "cuModuleLoadData");
            }

            return (new CudaModule(module), null);
        }
        catch (Exception e) when (e is DllNotFoundException or EntryPointNotFoundException or InvalidOperationException or TypeInitializationException)
        {
            return (null, e.Message);
        }
    }

    /// <summary>A kernel by name.</summary>
    public nint Function(string name)
    {
        nint driver = Library("libcuda.so.1");
        byte[] text = Encoding.ASCII.GetBytes(name + "\0");
        nint function;
        fixed (byte* n = text)
        {
            Check(((delegate* unmanaged<nint*, nint, byte*, int>)Export(driver, "cuModuleGetFunction"))(&function, _module, n), "cuModuleGetFunction");
        }

        return function;
    }

    /// <summary>Starts a kernel on libtorch's current stream.</summary>
    /// <param name="function">From <see cref="Function"/>.</param>
    /// <param name="device">Index of the device.</param>
    /// <param name="blocks">Number of blocks.</param>
    /// <param name="threads">Threads of each.</param>
    /// <param name="arguments">Each argument as a 64-bit word; the kernel reads as many bytes of it as it declares.</param>
    public static void Launch(nint function, int device, uint blocks, uint threads, ReadOnlySpan<ulong> arguments)
    {
        using CudaDevice.Scope scope = CudaDevice.Use(device);
        nint stream;
        Check(CurrentStream(device, &stream), "aoti_torch_get_current_cuda_stream");
        void** pointers = stackalloc void*[arguments.Length];
        fixed (ulong* words = arguments)
        {
            for (int i = 0; i < arguments.Length; i++)
            {
                pointers[i] = words + i;
            }

            Check(LaunchKernel(function, blocks, 1, 1, threads, 1, 1, 0, stream, pointers, null), "cuLaunchKernel");
        }
    }

    private static readonly delegate* unmanaged<int, nint*, int> CurrentStream = (delegate* unmanaged<int, nint*, int>)Export(
        NativeLibrary.Load("torch_cuda", typeof(torch).Assembly, null), "aoti_torch_get_current_cuda_stream");

    private static readonly delegate* unmanaged<nint, uint, uint, uint, uint, uint, uint, uint, nint, void**, void**, int> LaunchKernel =
        (delegate* unmanaged<nint, uint, uint, uint, uint, uint, uint, uint, nint, void**, void**, int>)Export(Library("libcuda.so.1"), "cuLaunchKernel");

    private static byte[] Build(nint nvrtc, string source, string architecture)
    {
        var create = (delegate* unmanaged<nint*, byte*, byte*, int, byte**, byte**, int>)Export(nvrtc, "nvrtcCreateProgram");
        var compile = (delegate* unmanaged<nint, int, byte**, int>)Export(nvrtc, "nvrtcCompileProgram");
        var destroy = (delegate* unmanaged<nint*, int>)Export(nvrtc, "nvrtcDestroyProgram");
        nint program;
        fixed (byte* text = Encoding.ASCII.GetBytes(source + "\0"))
        fixed (byte* option = Encoding.ASCII.GetBytes($"--gpu-architecture={architecture}\0"))
        {
            Check(create(&program, text, null, 0, null, null), "nvrtcCreateProgram");
            try
            {
                byte* options = option;
                if (compile(program, 1, &options) != 0)
                {
                    throw new InvalidOperationException("the kernel does not compile: "
                        + Encoding.ASCII.GetString(Get(nvrtc, program, "nvrtcGetProgramLogSize", "nvrtcGetProgramLog")).TrimEnd('\0'));
                }

                return Get(nvrtc, program, "nvrtcGetCUBINSize", "nvrtcGetCUBIN");
            }
            finally
            {
                _ = destroy(&program);
            }
        }
    }

    private static byte[] Get(nint nvrtc, nint program, string sizeFunction, string function)
    {
        nuint size;
        Check(((delegate* unmanaged<nint, nuint*, int>)Export(nvrtc, sizeFunction))(program, &size), sizeFunction);
        var result = new byte[size];
        fixed (byte* data = result)
        {
            Check(((delegate* unmanaged<nint, byte*, int>)Export(nvrtc, function))(program, data), function);
        }

        return result;
    }

    private static string Architecture(nint driver, int device)
    {
        var attribute = (delegate* unmanaged<int*, int, int, int>)Export(driver, "cuDeviceGetAttribute");
        int major, minor;
        Check(attribute(&major, ComputeCapabilityMajor, device), "cuDeviceGetAttribute");
        Check(attribute(&minor, ComputeCapabilityMinor, device), "cuDeviceGetAttribute");
        return major >= 8 ? $"sm_{major}{minor}"
            : throw new InvalidOperationException($"compute capability {major}.{minor} has no bf16; 8.0 or later is needed");
    }

    private static nint Library(params ReadOnlySpan<string> names)
    {
        foreach (string name in names)
        {
            if (NativeLibrary.TryLoad(name, out nint handle))
            {
                return handle;
            }
        }

        throw new DllNotFoundException($"{names[0]} was not found");
    }

    private static nint Export(nint library, string name) => NativeLibrary.GetExport(library, name);

    private static void Check(int status, string function)
    {
        if (status != 0)
        {
            throw new InvalidOperationException($"{function} failed with error {status}");
        }
    }
}

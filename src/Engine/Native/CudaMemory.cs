using System.Runtime.InteropServices;
using TorchSharp;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine.Native;

/// <summary>Bytes on one GPU.</summary>
/// <param name="Allocated">In tensors of this process; of all processes when <see cref="PeakAllocated"/> is null.</param>
/// <param name="PeakAllocated">The most that was in tensors; null when libtorch's allocator cannot be asked.</param>
/// <param name="Reserved">Held by libtorch's allocator, in use or cached.</param>
internal sealed record CudaMemoryUse(long Allocated, long? PeakAllocated, long Reserved);

/// <summary>How much GPU memory is in use, which TorchSharp does not tell.</summary>
/// <remarks>
/// libtorch's caching allocator is asked through its virtual functions, whose places belong to libtorch's version. They
/// are called only if they lie inside libc10_cuda, and believed only if a tensor made for the purpose shows up in
/// the numbers. Otherwise the driver's numbers for the whole GPU serve.
/// </remarks>
internal static unsafe partial class CudaMemory
{
    // Places in the table of virtual functions, and in the result as 64-bit words (current value; the peak follows it).
    private const int Initialized = 6;
    private const int GetDeviceStats = 9;
    private const int AllocatedBytes = 48;
    private const int ReservedBytes = 60;
    private const int ResultWords = 2048; // several times what the result needs

    private static readonly Lock Gate = new();
    private static readonly Dictionary<int, bool> IsBelieved = [];

    /// <summary>Memory in use on a GPU; null when nothing can tell, as on a machine without one.</summary>
    /// <param name="device">The GPU's number in this process; a negative one means the current one, 0.</param>
    public static CudaMemoryUse? Read(int device)
    {
        device = Math.Max(0, device);
        lock (Gate)
        {
            if (!cuda.is_available() || device >= cuda.device_count())
            {
                return null;
            }

            if (!IsBelieved.TryGetValue(device, out bool isBelieved))
            {
                isBelieved = IsBelieved[device] = Try(() => ShowsATensor(device));
            }

            return isBelieved && FromAllocator(device) is { } use ? use : FromDriver(device);
        }
    }

    // A full GPU has no room for the tensor, and a system older than any that is supported may lack dladdr.
    private static bool Try(Func<bool> test)
    {
        try
        {
            return test();
        }
        catch (Exception e) when (e is ExternalException or DllNotFoundException or EntryPointNotFoundException)
        {
            return false;
        }
    }

    private static bool ShowsATensor(int device)
    {
        const long Bytes = 4 << 20;
        using Tensor first = zeros(1, ScalarType.Byte, new Device(DeviceType.CUDA, device)); // the allocator exists from here on
        if (FromAllocator(device) is not { } before)
        {
            return false;
        }

        using Tensor tensor = zeros(Bytes, ScalarType.Byte, new Device(DeviceType.CUDA, device));
        return FromAllocator(device) is { } after && FromDriverTotal(device) is { } total
            && after.Allocated - before.Allocated == Bytes
            && before.Allocated > 0 && after.Allocated <= after.PeakAllocated
            && after.Allocated <= after.Reserved && after.Reserved <= total;
    }

    private static CudaMemoryUse? FromAllocator(int device)
    {
        if (!TryLoad(out nint library) || !NativeLibrary.TryGetExport(library, "_ZN3c104cuda20CUDACachingAllocator9allocatorE", out nint symbol)
            || *(nint*)symbol is not (not 0 and nint allocator) || *(nint*)allocator is not (not 0 and nint table))
        {
            return null;
        }

        nint home = LibraryOf(symbol);
        nint initialized = ((nint*)table)[Initialized];
        nint getDeviceStats = ((nint*)table)[GetDeviceStats];
        if (home == 0 || LibraryOf(initialized) != home || LibraryOf(getDeviceStats) != home
            || ((delegate* unmanaged<nint, byte>)initialized)(allocator) != 1)
        {
            return null;
        }

        long* words = (long*)NativeMemory.AllocZeroed(ResultWords, sizeof(long));
        try
        {
            // A struct this large is returned through a pointer that comes before "this".
            ((delegate* unmanaged<long*, nint, sbyte, long*>)getDeviceStats)(words, allocator, (sbyte)device);
            return new CudaMemoryUse(words[AllocatedBytes], words[AllocatedBytes + 1], words[ReservedBytes]);
        }
        finally
        {
            NativeMemory.Free(words);
        }
    }

    private static CudaMemoryUse? FromDriver(int device) =>
        Driver(device) is var (free, total) ? new CudaMemoryUse(total - free, null, total - free) : null;

    private static long? FromDriverTotal(int device) => Driver(device)?.Total;

    // cudaMemGetInfo speaks of the current device, which must not change for libtorch.
    private static (long Free, long Total)? Driver(int device)
    {
        nint memGetInfo = CudaRuntime.Symbol("cudaMemGetInfo");
        if (memGetInfo == 0)
        {
            return null;
        }

        using CudaDevice.Scope scope = CudaDevice.Use(device);
        nuint free, total;
        int result = ((delegate* unmanaged<nuint*, nuint*, int>)memGetInfo)(&free, &total);
        return result == 0 ? ((long)free, (long)total) : null;
    }

    private static bool TryLoad(out nint library) => NativeLibrary.TryLoad("c10_cuda", typeof(torch).Assembly, null, out library);

    // Where the library that holds an address begins; 0 when none does.
    private static nint LibraryOf(nint address)
    {
        DynamicLinkInfo info;
        return address != 0 && dladdr(address, &info) != 0 ? info.Base : 0;
    }

    [LibraryImport("libc.so.6")]
    private static partial int dladdr(nint address, DynamicLinkInfo* info);

    [StructLayout(LayoutKind.Sequential)]
    private struct DynamicLinkInfo
    {
        public nint FileName;
        public nint Base;
        public nint SymbolName;
        public nint SymbolAddress;
    }
}

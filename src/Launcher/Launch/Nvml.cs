using System.Runtime.InteropServices;
using System.Text;

namespace DeepSpeedSharp.Launcher.Launch;

/// <summary>NVIDIA's management library: which GPUs this machine has, without touching them.</summary>
internal static unsafe class Nvml
{
    private const int NameLength = 96;

    /// <summary>Number of GPUs; 0 without driver.</summary>
    public static int DeviceCount() => Devices().Count;

    /// <summary>Name and memory in bytes of each GPU; empty without driver.</summary>
    public static IReadOnlyList<(string Name, ulong Memory)> Devices() => Ask(Read) ?? [];

    /// <summary>Asks the library something.</summary>
    /// <param name="read">Gets its handle while it is initialised.</param>
    /// <returns>Null without driver, or where it is too old to be asked that.</returns>
    public static T? Ask<T>(Func<nint, T> read)
        where T : class
    {
        if (!NativeLibrary.TryLoad("libnvidia-ml.so.1", out nint library))
        {
            return null;
        }

        try
        {
            if (((delegate* unmanaged<int>)NativeLibrary.GetExport(library, "nvmlInit_v2"))() != 0)
            {
                return null;
            }

            try
            {
                return read(library);
            }
            finally
            {
                _ = ((delegate* unmanaged<int>)NativeLibrary.GetExport(library, "nvmlShutdown"))();
            }
        }
        catch (EntryPointNotFoundException)
        {
            return null;
        }
        finally
        {
            NativeLibrary.Free(library);
        }
    }

    private static List<(string, ulong)> Read(nint library)
    {
        var getCount = (delegate* unmanaged<uint*, int>)NativeLibrary.GetExport(library, "nvmlDeviceGetCount_v2");
        var getHandle = (delegate* unmanaged<uint, nint*, int>)NativeLibrary.GetExport(library, "nvmlDeviceGetHandleByIndex_v2");
        var getName = (delegate* unmanaged<nint, byte*, uint, int>)NativeLibrary.GetExport(library, "nvmlDeviceGetName");
        var getMemory = (delegate* unmanaged<nint, ulong*, int>)NativeLibrary.GetExport(library, "nvmlDeviceGetMemoryInfo");
        var devices = new List<(string, ulong)>();
        uint count = 0;
        _ = getCount(&count);
        byte* name = stackalloc byte[NameLength];
        ulong* memory = stackalloc ulong[3];
        for (uint i = 0; i < count; i++)
        {
            // A GPU of another user's container may be counted but not given; it still has its number.
            nint handle = 0;
            bool isMine = getHandle(i, &handle) == 0 && getName(handle, name, NameLength) == 0;
            devices.Add((isMine ? Encoding.UTF8.GetString(MemoryMarshal.CreateReadOnlySpanFromNullTerminated(name)) : "not accessible",
                isMine && getMemory(handle, memory) == 0 ? memory[0] : 0));
        }

        return devices;
    }
}

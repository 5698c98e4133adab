using System.Runtime.InteropServices;

namespace DeepSpeedSharp.Launcher.Launch;

/// <summary>Whether a pair of GPUs can use NVLink (nvml.h, nvmlGpuP2PStatus_t).</summary>
internal enum PeerStatus
{
    Ok = 0,
    ChipsetNotSupported = 1,
    GpuNotSupported = 2,
    TopologyNotSupported = 3,
    Disabled = 4,
    NotSupported = 5,
    Unknown = 6,
}

/// <summary>What a pair of GPUs has in common on the PCIe bus (nvml.h, nvmlGpuTopologyLevel_t).</summary>
internal enum PciePath
{
    SameBoard = 0,
    OneSwitch = 10,
    SeveralSwitches = 20,
    HostBridge = 30,
    NumaNode = 40,
    System = 50,
    Unknown = -1,
}

/// <summary>How two GPUs of this machine are joined.</summary>
/// <param name="From">Index of one.</param>
/// <param name="To">Index of the other.</param>
/// <param name="NvLink">Whether they can use NVLink.</param>
/// <param name="Links">Active NVLink connections between them, directly or through switches; 0 when it has none.</param>
/// <param name="Path">Their way over PCIe.</param>
internal sealed record GpuLink(int From, int To, PeerStatus NvLink, int Links, PciePath Path)
{
    private const int NvLinkCapability = 2; // NVML_P2P_CAPS_INDEX_NVLINK
    private const int MostLinks = 36;
    private const uint RemoteGpu = 0, RemoteSwitch = 2;

    /// <summary>Reads all pairs, in both directions; empty without driver.</summary>
    public static IReadOnlyList<GpuLink> ReadAll() => Nvml.Ask(Read) ?? [];

    private static unsafe List<GpuLink> Read(nint library)
    {
        var getCount = (delegate* unmanaged<uint*, int>)NativeLibrary.GetExport(library, "nvmlDeviceGetCount_v2");
        var getHandle = (delegate* unmanaged<uint, nint*, int>)NativeLibrary.GetExport(library, "nvmlDeviceGetHandleByIndex_v2");
        var getStatus = (delegate* unmanaged<nint, nint, int, int*, int>)NativeLibrary.GetExport(library, "nvmlDeviceGetP2PStatus");
        var getAncestor = (delegate* unmanaged<nint, nint, int*, int>)NativeLibrary.GetExport(library, "nvmlDeviceGetTopologyCommonAncestor");
        uint count = 0;
        _ = getCount(&count);
        var handles = new nint[count];
        for (uint i = 0; i < count; i++)
        {
            nint handle;
            handles[i] = getHandle(i, &handle) == 0 ? handle : 0;
        }

        Port[][] ports = [.. handles.Select(handle => handle == 0 ? [] : Ports(library, handle).ToArray())];
        PciAddress[] addresses = [.. handles.Select(handle => handle == 0 ? default : Address(library, handle))];
        var pairs = new List<GpuLink>();
        for (int i = 0; i < count; i++)
        {
            for (int j = 0; j < count; j++)
            {
                if (i != j && handles[i] != 0 && handles[j] != 0)
                {
                    int status, path;
                    PeerStatus nvLink = getStatus(handles[i], handles[j], NvLinkCapability, &status) == 0 ? (PeerStatus)status : PeerStatus.Unknown;
                    PciePath common = getAncestor(handles[i], handles[j], &path) == 0 ? (PciePath)path : PciePath.Unknown;
                    int links = nvLink != PeerStatus.Ok ? 0 : ports[i].Count(port => port.IsSwitch
                        ? ports[j].Any(other => other.IsSwitch) : port.Remote == addresses[j]);
                    pairs.Add(new GpuLink(i, j, nvLink, links, common));
                }
            }
        }

        return pairs;
    }

    // The active connections of a GPU, and what is at their other end.
    private static unsafe List<Port> Ports(nint library, nint device)
    {
        var found = new List<Port>();
        if (!NativeLibrary.TryGetExport(library, "nvmlDeviceGetNvLinkState", out nint state)
            || !NativeLibrary.TryGetExport(library, "nvmlDeviceGetNvLinkRemoteDeviceType", out nint type)
            || !NativeLibrary.TryGetExport(library, "nvmlDeviceGetNvLinkRemotePciInfo_v2", out nint remote))
        {
            return found;
        }

        for (uint link = 0; link < MostLinks; link++)
        {
            uint active = 0, kind = 0;
            PciInfo info;
            if (((delegate* unmanaged<nint, uint, uint*, int>)state)(device, link, &active) == 0 && active == 1
                && ((delegate* unmanaged<nint, uint, uint*, int>)type)(device, link, &kind) == 0 && kind is RemoteGpu or RemoteSwitch
                && ((delegate* unmanaged<nint, uint, PciInfo*, int>)remote)(device, link, &info) == 0)
            {
                found.Add(new Port(kind == RemoteSwitch, info.Address));
            }
        }

        return found;
    }

    private static unsafe PciAddress Address(nint library, nint device)
    {
        PciInfo info;
        return NativeLibrary.TryGetExport(library, "nvmlDeviceGetPciInfo_v3", out nint get)
            && ((delegate* unmanaged<nint, PciInfo*, int>)get)(device, &info) == 0 ? info.Address : default;
    }

    private readonly record struct Port(bool IsSwitch, PciAddress Remote);

    private readonly record struct PciAddress(uint Domain, uint Bus, uint Device);

    // nvmlPciInfo_t.
    [StructLayout(LayoutKind.Sequential)]
    private unsafe struct PciInfo
    {
        private fixed byte _legacyName[16];
        private readonly uint _domain, _bus, _device, _deviceId, _subsystemId;
        private fixed byte _name[32];

        public readonly PciAddress Address => new(_domain, _bus, _device);
    }
}

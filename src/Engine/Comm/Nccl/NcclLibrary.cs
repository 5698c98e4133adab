using System.Runtime.InteropServices;
using DeepSpeedSharp.Engine.Native;
using TorchSharp;

namespace DeepSpeedSharp.Engine.Comm.Nccl;

/// <summary>NVIDIA's collective library, looked up by name: a machine without it loads the engine too.</summary>
/// <remarks>The functions used are those of NCCL 2.14 and later, which can start communicators without blocking.</remarks>
internal sealed unsafe class NcclLibrary
{
    /// <summary>Names the library to use instead of the one that is found.</summary>
    public const string Variable = "DEEPSPEED_NCCL_LIBRARY";

    private const string Name = "libnccl.so.2";
    private const int LeastVersion = 21400;

    private static readonly Lazy<NcclLibrary> Found = new(() => Load(Environment.GetEnvironmentVariable));

    public readonly delegate* unmanaged<NcclId*, int> GetUniqueId;
    public readonly delegate* unmanaged<nint*, int, NcclId, int, NcclConfig*, int> CommInitRankConfig;
    public readonly delegate* unmanaged<nint, int> CommFinalize, CommDestroy, CommAbort;
    public readonly delegate* unmanaged<nint, int*, int> CommGetAsyncError;
    public readonly delegate* unmanaged<nint, nint, nuint, NcclType, NcclReduction, nint, nint, int> AllReduce, ReduceScatter;
    public readonly delegate* unmanaged<nint, nint, nuint, NcclType, NcclReduction, int, nint, nint, int> Reduce;
    public readonly delegate* unmanaged<nint, nint, nuint, NcclType, int, nint, nint, int> Broadcast;
    public readonly delegate* unmanaged<nint, nint, nuint, NcclType, nint, nint, int> AllGather;
    public readonly delegate* unmanaged<nint, nuint, NcclType, int, nint, nint, int> Send, Recv;
    public readonly delegate* unmanaged<int> GroupStart, GroupEnd;
    private readonly delegate* unmanaged<int, byte*> _getErrorString;
    private readonly delegate* unmanaged<nint, byte*> _getLastError;

    private NcclLibrary(nint library, string place)
    {
        int version;
        int status = ((delegate* unmanaged<int*, int>)NativeLibrary.GetExport(library, "ncclGetVersion"))(&version);
        Version = NvidiaDriver.NcclText(version);
        if (status != 0 || version < LeastVersion)
        {
            throw new NativeBackendException($"NCCL {Version} ({place}) is too old; 2.14 or later is needed");
        }

        Place = place;
        GetUniqueId = (delegate* unmanaged<NcclId*, int>)Of("ncclGetUniqueId");
        CommInitRankConfig = (delegate* unmanaged<nint*, int, NcclId, int, NcclConfig*, int>)Of("ncclCommInitRankConfig");
        CommFinalize = (delegate* unmanaged<nint, int>)Of("ncclCommFinalize");
        CommDestroy = (delegate* unmanaged<nint, int>)Of("ncclCommDestroy");
        CommAbort = (delegate* unmanaged<nint, int>)Of("ncclCommAbort");
        CommGetAsyncError = (delegate* unmanaged<nint, int*, int>)Of("ncclCommGetAsyncError");
        AllReduce = (delegate* unmanaged<nint, nint, nuint, NcclType, NcclReduction, nint, nint, int>)Of("ncclAllReduce");
        ReduceScatter = (delegate* unmanaged<nint, nint, nuint, NcclType, NcclReduction, nint, nint, int>)Of("ncclReduceScatter");
        Reduce = (delegate* unmanaged<nint, nint, nuint, NcclType, NcclReduction, int, nint, nint, int>)Of("ncclReduce");
        Broadcast = (delegate* unmanaged<nint, nint, nuint, NcclType, int, nint, nint, int>)Of("ncclBroadcast");
        AllGather = (delegate* unmanaged<nint, nint, nuint, NcclType, nint, nint, int>)Of("ncclAllGather");
        Send = (delegate* unmanaged<nint, nuint, NcclType, int, nint, nint, int>)Of("ncclSend");
        Recv = (delegate* unmanaged<nint, nuint, NcclType, int, nint, nint, int>)Of("ncclRecv");
        GroupStart = (delegate* unmanaged<int>)Of("ncclGroupStart");
        GroupEnd = (delegate* unmanaged<int>)Of("ncclGroupEnd");
        _getErrorString = (delegate* unmanaged<int, byte*>)Of("ncclGetErrorString");
        _getLastError = (delegate* unmanaged<nint, byte*>)Of("ncclGetLastError");

        nint Of(string name) => NativeLibrary.GetExport(library, name);
    }

    /// <summary>The library.</summary>
    /// <exception cref="NativeBackendException">There is none, or it is too old.</exception>
    public static NcclLibrary Loaded => Found.Value;

    /// <summary>Its version, as "2.28.9".</summary>
    public string Version { get; }

    /// <summary>The file, or through what it was found.</summary>
    public string Place { get; }

    /// <summary>What a status means, with the last error that NCCL has noted for a communicator.</summary>
    /// <param name="status">What a function returned.</param>
    /// <param name="communicator">Its handle, or 0.</param>
    public string Explain(int status, nint communicator)
    {
        string text = Marshal.PtrToStringUTF8((nint)_getErrorString(status)) ?? $"error {status}";
        string? last = Marshal.PtrToStringUTF8((nint)_getLastError(communicator));
        return string.IsNullOrEmpty(last) ? text : $"{text}: {last.Trim()}";
    }

    /// <summary>Loads NCCL.</summary>
    /// <param name="read">Gives the value of a variable, or null.</param>
    /// <exception cref="NativeBackendException">There is none; the message says where it was looked for.</exception>
    internal static NcclLibrary Load(Func<string, string?> read)
    {
        if (read(Variable) is { Length: > 0 } named)
        {
            return NativeLibrary.TryLoad(named, out nint own) ? Open(own, named)
                : throw new NativeBackendException($"NCCL cannot be loaded from {named}, which {Variable} names: {Reason(named)}; "
                    + "correct the variable, or unset it to have NCCL found");
        }

        // libtorch's own, linked into it or in a library that it has loaded: a second copy would have other state.
        if (NativeLibrary.TryLoad("torch_cuda", typeof(torch).Assembly, null, out nint torchCuda)
            && NativeLibrary.TryGetExport(torchCuda, "ncclCommInitRankConfig", out _))
        {
            return Open(torchCuda, "libtorch's");
        }

        string[] places = [.. Places(read, AppContext.BaseDirectory)];
        foreach (string place in places)
        {
            if ((place == Name || File.Exists(place)) && NativeLibrary.TryLoad(place, out nint library))
            {
                return Open(library, place);
            }
        }

        throw new NativeBackendException($"NCCL was not found; looked for {string.Join(", ", places)}; put the folder of {Name} on "
            + $"LD_LIBRARY_PATH (pip install nvidia-nccl-cu12 has it in nvidia/nccl/lib), or name the file in {Variable}");
    }

    /// <summary>Where NCCL may be, in the order in which it is tried.</summary>
    /// <param name="read">Gives the value of a variable, or null.</param>
    /// <param name="program">Folder of this program.</param>
    internal static IEnumerable<string> Places(Func<string, string?> read, string program)
    {
        yield return Name;
        foreach (string folder in (read("LD_LIBRARY_PATH") ?? "").Split(':', StringSplitOptions.RemoveEmptyEntries).Append(program))
        {
            yield return Path.Combine(folder, Name);
            // Beside PyTorch's torch/lib, where pip puts NVIDIA's libraries.
            yield return Path.GetFullPath(Path.Combine(folder, "..", "..", "nvidia", "nccl", "lib", Name));
        }

        foreach (string environment in (string[])["VIRTUAL_ENV", "CONDA_PREFIX"])
        {
            if (read(environment) is { Length: > 0 } prefix && Path.Combine(prefix, "lib") is var libraries && Directory.Exists(libraries))
            {
                foreach (string python in Directory.EnumerateDirectories(libraries, "python3*").Order(StringComparer.Ordinal))
                {
                    yield return Path.Combine(python, "site-packages", "nvidia", "nccl", "lib", Name);
                }
            }
        }
    }

    private static NcclLibrary Open(nint library, string place)
    {
        try
        {
            return new NcclLibrary(library, place);
        }
        catch (EntryPointNotFoundException e)
        {
            throw new NativeBackendException($"{place} is no NCCL of version 2.14 or later: {e.Message}", e);
        }
    }

    private static string Reason(string path)
    {
        try
        {
            NativeLibrary.Free(NativeLibrary.Load(path));
            return "";
        }
        catch (Exception e) when (e is DllNotFoundException or BadImageFormatException)
        {
            return e.Message.ReplaceLineEndings(" ").Trim();
        }
    }
}

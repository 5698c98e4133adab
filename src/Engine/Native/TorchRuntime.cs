using System.Runtime.CompilerServices;
using TorchSharp;

namespace DeepSpeedSharp.Engine.Native;

/// <summary>Loads libtorch, checks that it behaves as the engine needs, and tells which one it is.</summary>
/// <remarks>Nothing in this folder knows of training: it only makes libtorch's own functions reachable.</remarks>
public static class TorchRuntime
{
    private static readonly Lazy<string> Loaded = new(LoadAndTest, LazyThreadSafetyMode.ExecutionAndPublication);

    /// <summary>Version of the libtorch that was loaded, as "2.10". Loads it when it is not loaded yet.</summary>
    /// <exception cref="NativeBackendException">libtorch is missing, or is one the engine does not know.</exception>
    public static string Version => Loaded.Value;

    /// <summary>Loads libtorch and runs the self-test; a second call costs nothing.</summary>
    /// <exception cref="NativeBackendException">libtorch is missing, or is one the engine does not know.</exception>
    public static void Load() => _ = Loaded.Value;

    // TorchSharp loads its bridge on the first use of any tensor, wherever in the program that is; the repair has to
    // come before, so it cannot wait for a call.
#pragma warning disable CA2255
    [ModuleInitializer]
    internal static void RepairBeforeFirstUse() => BridgeRepair.Apply();
#pragma warning restore CA2255

    private static string LoadAndTest()
    {
        // Before TorchSharp tries: it would copy half a gigabyte of libraries beside the program first.
        if (BridgeRepair.Failure is { } failure)
        {
            throw CannotLoad(failure, null);
        }

        try
        {
            torch.InitializeDeviceType(DeviceType.CPU);
        }
        catch (Exception e) when (e is TypeInitializationException or NotSupportedException or DllNotFoundException)
        {
            throw CannotLoad("no libtorch for this machine was found beside the program or on LD_LIBRARY_PATH", e);
        }

        return SelfTest.Run();
    }

    private static NativeBackendException CannotLoad(string cause, Exception? inner) =>
        new($"libtorch cannot be loaded: {cause}; reference the package libtorch-cpu-linux-x64, or put a PyTorch "
            + "installation's torch/lib on LD_LIBRARY_PATH (docs/operations.md#libtorch)", inner);
}

/// <summary>libtorch is missing or does not behave as the engine needs; the message says in one sentence what to do.</summary>
public sealed class NativeBackendException(string message, Exception? inner = null) : Exception(message, inner);

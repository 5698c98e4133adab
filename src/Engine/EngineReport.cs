using System.Globalization;
using System.Runtime.Intrinsics.X86;
using DeepSpeedSharp.Engine.Native;
using TorchSharp;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine;

/// <summary>What a rank computes with, for the first line of a log; <see cref="ToString"/> is that line.</summary>
/// <remarks>What cannot be found out is null and left out of the line: a report never fails.</remarks>
public sealed record EngineReport
{
    /// <summary>The device, as "cpu" or "cuda:0".</summary>
    public required string Device { get; init; }

    /// <summary>Name of the GPU, as "NVIDIA H100 80GB HBM3"; null on the CPU.</summary>
    public string? DeviceName { get; init; }

    /// <summary>Version of NVIDIA's driver; null on the CPU.</summary>
    public string? DriverVersion { get; init; }

    /// <summary>Version of the CUDA runtime that libtorch uses; null on the CPU.</summary>
    public string? CudaVersion { get; init; }

    /// <summary>Version of NCCL; null on the CPU.</summary>
    public string? NcclVersion { get; init; }

    /// <summary>Threads that an operator may use on the CPU; null on a GPU.</summary>
    public int? Threads { get; init; }

    /// <summary>The widest vector instructions of the CPU, as "AVX-512"; null on a GPU.</summary>
    public string? VectorInstructions { get; init; }

    /// <summary>Version of libtorch, as "2.10".</summary>
    public required string LibTorchVersion { get; init; }

    /// <summary>Data types of training, as "bf16 with fp32 master weights".</summary>
    public required string Precision { get; init; }

    /// <summary>What an engine computes with.</summary>
    /// <param name="engine">The engine.</param>
    public static EngineReport For(DeepSpeedEngine engine) => For(engine.Device, engine.Precision);

    /// <summary>Looks at this process. Loads libtorch when it is not loaded yet.</summary>
    /// <param name="device">Where this rank trains.</param>
    /// <param name="precision">Data types of training.</param>
    /// <exception cref="NativeBackendException">libtorch is missing, or is one the engine does not know.</exception>
    public static EngineReport For(Device device, string precision)
    {
        string version = TorchRuntime.Version;
        if (device.type != DeviceType.CUDA)
        {
            return new EngineReport
            {
                Device = device.ToString(),
                Threads = get_num_threads(),
                VectorInstructions = Avx512F.IsSupported ? "AVX-512" : Avx2.IsSupported ? "AVX2" : null,
                LibTorchVersion = version,
                Precision = precision,
            };
        }

        int ordinal = Math.Max(0, device.index);
        return new EngineReport
        {
            Device = string.Create(CultureInfo.InvariantCulture, $"cuda:{ordinal}"),
            DeviceName = NvidiaDriver.DeviceName(ordinal),
            DriverVersion = NvidiaDriver.Version(),
            CudaVersion = NvidiaDriver.CudaVersion(),
            NcclVersion = NvidiaDriver.NcclVersion(),
            LibTorchVersion = version,
            Precision = precision,
        };
    }

    /// <summary>The line, as "cuda:0 NVIDIA H100 80GB HBM3 (driver 570.86.15, CUDA 12.8), libtorch 2.10, NCCL 2.27.3,
    /// bf16 with fp32 master weights".</summary>
    public override string ToString()
    {
        string device = DeviceName is null ? Device : $"{Device} {DeviceName}";
        string details = Listed(
            Threads is { } threads ? $"{threads} {(threads == 1 ? "thread" : "threads")}" : null, VectorInstructions,
            Named("driver", DriverVersion), Named("CUDA", CudaVersion));
        return Listed(details.Length == 0 ? device : $"{device} ({details})",
            Named("libtorch", LibTorchVersion), Named("NCCL", NcclVersion), Precision);
    }

    private static string? Named(string name, string? version) => version is null ? null : $"{name} {version}";

    private static string Listed(params IEnumerable<string?> parts) => string.Join(", ", parts.Where(part => part is not null));
}

using System.Text.Json.Serialization;

namespace DeepSpeedSharp.Config;

/// <summary>Where sharded state is kept when it is not on the GPU.</summary>
[JsonConverter(typeof(JsonStringEnumConverter<OffloadDevice>))]
public enum OffloadDevice
{
    /// <summary>It stays on the GPU.</summary>
    [JsonStringEnumMemberName("none")]
    None,

    /// <summary>Host memory.</summary>
    [JsonStringEnumMemberName("cpu")]
    Cpu,

    /// <summary>Files on a fast disk.</summary>
    [JsonStringEnumMemberName("nvme")]
    Nvme,
}

/// <summary>The <c>zero_optimization.offload_param</c> section: parameters of stage 3 outside the GPU.</summary>
/// <remarks>Rajbhandari et al., "ZeRO-Infinity", 2021, section 5.</remarks>
public sealed record OffloadParamConfig
{
    /// <summary>Where the shards of parameters are.</summary>
    [JsonPropertyName("device")]
    public OffloadDevice Device { get; init; }

    /// <summary>Folder for <see cref="OffloadDevice.Nvme"/>.</summary>
    [JsonPropertyName("nvme_path")]
    public string? NvmePath { get; init; }

    /// <summary>Buffers between disk and GPU.</summary>
    [JsonPropertyName("buffer_count")]
    public int BufferCount { get; init; } = 5;

    /// <summary>Elements of one buffer.</summary>
    [JsonPropertyName("buffer_size")]
    public long BufferSize { get; init; } = 100_000_000;

    /// <summary>Elements kept in host memory when the rest is on disk.</summary>
    [JsonPropertyName("max_in_cpu")]
    public long MaxInCpu { get; init; } = 1_000_000_000;

    /// <summary>Uses page-locked host memory.</summary>
    [JsonPropertyName("pin_memory")]
    public bool PinMemory { get; init; } = true;

    internal static OffloadParamConfig Read(ConfigSection section)
    {
        var defaults = new OffloadParamConfig();
        var config = new OffloadParamConfig
        {
            Device = OffloadReading.Device(section),
            NvmePath = section.Text("nvme_path"),
            BufferCount = section.Int("buffer_count", minimum: 1) ?? defaults.BufferCount,
            BufferSize = section.Long("buffer_size", minimum: 1) ?? defaults.BufferSize,
            MaxInCpu = section.Long("max_in_cpu", minimum: 0) ?? defaults.MaxInCpu,
            PinMemory = section.Flag("pin_memory") ?? defaults.PinMemory,
        };
        OffloadReading.NeedPath(section, config.Device, config.NvmePath);
        section.End();
        return config;
    }
}

/// <summary>The <c>zero_optimization.offload_optimizer</c> section: optimizer state outside the GPU.</summary>
/// <remarks>Ren et al., "ZeRO-Offload", 2021, section 4.</remarks>
public sealed record OffloadOptimizerConfig
{
    /// <summary>Where master weights and moments are.</summary>
    [JsonPropertyName("device")]
    public OffloadDevice Device { get; init; }

    /// <summary>Folder for <see cref="OffloadDevice.Nvme"/>.</summary>
    [JsonPropertyName("nvme_path")]
    public string? NvmePath { get; init; }

    /// <summary>Buffers between disk and host memory.</summary>
    [JsonPropertyName("buffer_count")]
    public int BufferCount { get; init; } = 4;

    /// <summary>Uses page-locked host memory.</summary>
    [JsonPropertyName("pin_memory")]
    public bool PinMemory { get; init; } = true;

    /// <summary>Reads the next part of the state while one is updated.</summary>
    [JsonPropertyName("pipeline_read")]
    public bool PipelineRead { get; init; }

    /// <summary>Writes the last part of the state while one is updated.</summary>
    [JsonPropertyName("pipeline_write")]
    public bool PipelineWrite { get; init; }

    /// <summary>Skips a copy when the state is first made on disk.</summary>
    [JsonPropertyName("fast_init")]
    public bool FastInit { get; init; }

    /// <summary>Fraction of the state that is offloaded; below 1 only in stage 3.</summary>
    [JsonPropertyName("ratio")]
    public double Ratio { get; init; } = 1;

    /// <summary>DeepSpeed's scheme for tightly coupled CPU and GPU.</summary>
    [JsonPropertyName("super_offload")]
    public bool SuperOffload { get; init; }

    /// <summary>Fraction of the CPU's cores for <see cref="SuperOffload"/>.</summary>
    [JsonPropertyName("cpuadam_cores_perc")]
    public double CpuAdamCoresFraction { get; init; } = 0.8;

    internal static OffloadOptimizerConfig Read(ConfigSection section)
    {
        var defaults = new OffloadOptimizerConfig();
        var config = new OffloadOptimizerConfig
        {
            Device = OffloadReading.Device(section),
            NvmePath = section.Text("nvme_path"),
            BufferCount = section.Int("buffer_count", minimum: 1) ?? defaults.BufferCount,
            PinMemory = section.Flag("pin_memory") ?? defaults.PinMemory,
            PipelineRead = section.Flag("pipeline_read") ?? defaults.PipelineRead,
            PipelineWrite = section.Flag("pipeline_write") ?? defaults.PipelineWrite,
            FastInit = section.Flag("fast_init") ?? defaults.FastInit,
            Ratio = section.Number("ratio", NumberRule.Fraction) ?? defaults.Ratio,
            SuperOffload = section.Flag("super_offload") ?? defaults.SuperOffload,
            CpuAdamCoresFraction = section.Number("cpuadam_cores_perc", NumberRule.Fraction) ?? defaults.CpuAdamCoresFraction,
        };
        OffloadReading.NeedPath(section, config.Device, config.NvmePath);
        section.End();
        return config;
    }
}

/// <summary>What both kinds of offload have in common.</summary>
internal static class OffloadReading
{
    public static OffloadDevice Device(ConfigSection section) => section.Choice("device",
        ("none", OffloadDevice.None), ("cpu", OffloadDevice.Cpu), ("nvme", OffloadDevice.Nvme)) ?? OffloadDevice.None;

    public static void NeedPath(ConfigSection section, OffloadDevice device, string? path)
    {
        if (device == OffloadDevice.Nvme && string.IsNullOrEmpty(path))
        {
            section.Problem("nvme_path", "offload to nvme needs a folder", "add \"nvme_path\": a folder on a fast local disk");
        }
    }
}

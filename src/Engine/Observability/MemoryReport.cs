using System.Globalization;
using System.Text;
using DeepSpeedSharp.Engine.Native;
using TorchSharp;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine.Observability;

/// <summary>The memory of the process and its GPU, as a line.</summary>
internal static class MemoryReport
{
    private const double Gigabyte = 1L << 30;

    /// <summary>Everything that <c>memory_breakdown</c> shows.</summary>
    /// <param name="device">Where the model is.</param>
    public static string Breakdown(Device device)
    {
        var text = new StringBuilder("memory | ");
        text.Append(CultureInfo.InvariantCulture, $"resident: {Environment.WorkingSet / Gigabyte:0.00} GB | ")
            .Append(CultureInfo.InvariantCulture, $"managed heap: {GC.GetTotalMemory(false) / Gigabyte:0.00} GB | ")
            .Append(CultureInfo.InvariantCulture, $"live tensors: {Tensor.TotalCount}");
        return text.Append(OfGpu(device, " | ", "gpu allocated: ", "gpu peak: ", "gpu reserved: ", " GB")).ToString();
    }

    /// <summary>The most that was taken so far.</summary>
    /// <param name="device">Where the model is.</param>
    public static string Peak(Device device)
    {
        // "VmHWM:", white space, a number, " kB"; page-locked memory counts as resident.
        string? line = OperatingSystem.IsLinux()
            ? File.ReadLines("/proc/self/status").FirstOrDefault(l => l.StartsWith("VmHWM:", StringComparison.Ordinal)) : null;
        double host = line is null ? Environment.WorkingSet
            : double.Parse(line.Split([' ', '\t'], StringSplitOptions.RemoveEmptyEntries)[1], CultureInfo.InvariantCulture) * 1024;
        string gpu = device.type == DeviceType.CUDA && CudaMemory.Read(device.index)?.PeakAllocated is { } peak
            ? string.Create(CultureInfo.InvariantCulture, $", gpu {peak / Gigabyte:0.00} GiB") : "";
        return string.Create(CultureInfo.InvariantCulture, $"peak memory: host {host / Gigabyte:0.00} GiB{gpu}");
    }

    /// <summary>The GPU part of the throughput line; empty without a GPU.</summary>
    /// <param name="device">Where the model is.</param>
    public static string Short(Device device) => OfGpu(device, ", ", "MemAllocated=", "MaxMemAllocated=", null, "GB");

    private static string OfGpu(Device device, string separator, string allocated, string peak, string? reserved, string unit)
    {
        if (device.type != DeviceType.CUDA)
        {
            return "";
        }

        CudaMemoryUse? use = CudaMemory.Read(device.index);
        string Show(string name, long bytes) => $"{separator}{name}{(bytes / Gigabyte).ToString("0.00", CultureInfo.InvariantCulture)}{unit}";
        return use switch
        {
            null => $"{separator}gpu memory: not known",
            { PeakAllocated: null } => Show("gpu used by all processes: ", use.Allocated),
            _ => Show(allocated, use.Allocated) + Show(peak, use.PeakAllocated.Value) + (reserved is null ? "" : Show(reserved, use.Reserved)),
        };
    }
}

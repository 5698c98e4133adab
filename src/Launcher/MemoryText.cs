using DeepSpeedSharp.Config;

namespace DeepSpeedSharp.Launcher;

/// <summary>An estimate of memory for people.</summary>
internal static class MemoryText
{
    /// <summary>One line for each thing that takes memory.</summary>
    public static IEnumerable<string> Lines(MemoryEstimate memory) =>
    [
        FormattableString.Invariant($"memory of each of {memory.WorldSize} ranks for {memory.Parameters:#,0} parameters, estimated:"),
        .. AlignedRows.Format(
        [
            ("model states", $"{Size(memory.ModelStateBytes)} = {Size(memory.WeightBytes)} weights + {Size(memory.GradientBytes)} gradients"
                + $" + {Size(memory.MasterBytes)} masters + {Size(memory.OptimizerBytes)} optimizer"),
            ("buffers", memory.BufferBytes == 0 ? null : $"{Size(memory.BufferBytes)}, less with smaller bucket sizes"),
            ("activations", $"{Size(memory.ActivationBytes)} by the rule of docs/zero.md, for a transformer of usual shape"),
            ("device", $"{Size(memory.DeviceBytes)}, without the runtime's own"),
            ("host", memory.HostBytes == 0 ? null : $"{Size(memory.HostBytes)} offloaded"),
            ("disk", memory.NvmeBytes == 0 ? null : $"{Size(memory.NvmeBytes)} offloaded"),
        ]),
    ];

    private static string Size(long bytes) => MemoryEstimate.Text(bytes);
}

namespace DeepSpeedSharp.Worker;

/// <summary>The peak of a GPU's 16-bit matrix units, for model flops utilization (MFU).</summary>
internal static class PeakFlops
{
    private const string DriverFolder = "/proc/driver/nvidia/gpus";

    // Dense bf16 and fp16 TFLOPS of the makers' data sheets; the first name found in the driver's name counts.
    private static readonly (string Name, double Tflops)[] Known =
    [
        ("B200", 2250), ("H200 NVL", 835), ("H200", 989), ("H100 NVL", 835), ("H100 PCIe", 756), ("H100", 989),
        ("H800 PCIe", 756), ("H800", 989), ("A100", 312), ("A800", 312), ("L40S", 362), ("L4", 121),
    ];

    /// <summary>The peak of one GPU of this machine, in flops; null when it is not known.</summary>
    /// <param name="isGpu">Whether training runs on a GPU.</param>
    /// <param name="is16Bit">Whether matrix products are in 16 bits; other precisions have other peaks.</param>
    public static double? OfThisMachine(bool isGpu, bool is16Bit) => isGpu && is16Bit ? Of(DriverName()) : null;

    /// <summary>The peak of a GPU by its name, in flops; null when it is not known.</summary>
    internal static double? Of(string? name)
    {
        string[] words = name?.Split(' ', '-') ?? []; // whole words: "L4" is not in "L40"
        foreach ((string known, double tflops) in Known)
        {
            if (known.Split(' ').All(words.Contains))
            {
                return tflops * 1e12;
            }
        }

        return null;
    }

    // Lines such as "Model:  NVIDIA H100 80GB HBM3"; all GPUs of a node are taken to be alike.
    private static string? DriverName()
    {
        try
        {
            return Directory.EnumerateDirectories(DriverFolder)
                .SelectMany(gpu => File.ReadLines(Path.Combine(gpu, "information")))
                .FirstOrDefault(line => line.StartsWith("Model:", StringComparison.Ordinal))?["Model:".Length..].Trim();
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return null; // no driver that tells
        }
    }
}

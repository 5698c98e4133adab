using static TorchSharp.torch;

namespace DeepSpeedSharp.Worker.Bench;

/// <summary>What <c>bench-comm</c> measures.</summary>
internal sealed record BenchOptions
{
    /// <summary><c>shm</c>, <c>tcp</c> or <c>nccl</c>; a name for the table, and nccl puts the tensors on GPUs.</summary>
    public required string Backend { get; init; }

    /// <summary>The operations, by DeepSpeed's names.</summary>
    public required IReadOnlyList<string> Operations { get; init; }

    /// <summary>Smallest message in bytes.</summary>
    public required long MinBytes { get; init; }

    /// <summary>Largest message in bytes.</summary>
    public required long MaxBytes { get; init; }

    /// <summary>How much larger each message is than the one before.</summary>
    public required int Factor { get; init; }

    /// <summary>Element type.</summary>
    public required ScalarType Type { get; init; }

    /// <summary>Calls that are measured; null takes more for small messages.</summary>
    public int? Iterations { get; init; }

    /// <summary>Whether to print a JSON object per line.</summary>
    public bool Json { get; init; }
}

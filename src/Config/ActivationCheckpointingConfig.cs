using System.Text.Json.Serialization;

namespace DeepSpeedSharp.Config;

/// <summary>The <c>activation_checkpointing</c> section: how recomputed layers keep their inputs.</summary>
/// <remarks>Chen et al., "Training Deep Nets with Sublinear Memory Cost", 2016.</remarks>
public sealed record ActivationCheckpointingConfig
{
    /// <summary>Splits kept inputs over model-parallel ranks.</summary>
    [JsonPropertyName("partition_activations")]
    public bool PartitionActivations { get; init; }

    /// <summary>Keeps inputs in one contiguous buffer; needs partitioning and the number of checkpoints.</summary>
    [JsonPropertyName("contiguous_memory_optimization")]
    public bool ContiguousMemoryOptimization { get; init; }

    /// <summary>Keeps inputs in host memory.</summary>
    [JsonPropertyName("cpu_checkpointing")]
    public bool CpuCheckpointing { get; init; }

    /// <summary>Number of checkpoints of one forward pass.</summary>
    [JsonPropertyName("number_checkpoints")]
    public int? NumberCheckpoints { get; init; }

    /// <summary>Waits for the device at each checkpoint.</summary>
    [JsonPropertyName("synchronize_checkpoint_boundary")]
    public bool SynchronizeCheckpointBoundary { get; init; }

    /// <summary>Times forward and backward of each checkpoint.</summary>
    [JsonPropertyName("profile")]
    public bool Profile { get; init; }

    internal static ActivationCheckpointingConfig Read(ConfigSection root)
    {
        if (root.Section("activation_checkpointing") is not { } section)
        {
            return new ActivationCheckpointingConfig();
        }

        var config = new ActivationCheckpointingConfig
        {
            PartitionActivations = section.Flag("partition_activations") ?? false,
            ContiguousMemoryOptimization = section.Flag("contiguous_memory_optimization") ?? false,
            CpuCheckpointing = section.Flag("cpu_checkpointing") ?? false,
            NumberCheckpoints = section.Int("number_checkpoints", minimum: 1),
            SynchronizeCheckpointBoundary = section.Flag("synchronize_checkpoint_boundary") ?? false,
            Profile = section.Flag("profile") ?? false,
        };
        if (config.ContiguousMemoryOptimization && !(config.PartitionActivations && config.NumberCheckpoints > 0))
        {
            section.Problem("contiguous_memory_optimization", "it needs partitioned activations and their number",
                "add \"partition_activations\": true and \"number_checkpoints\", or remove it");
        }

        section.End();
        return config;
    }
}

using System.Text.Json;
using System.Text.Json.Serialization;

namespace DeepSpeedSharp.Config;

/// <summary>The <c>zero_optimization</c> section: which training state is sharded over the ranks.</summary>
public sealed record ZeroConfig
{
    /// <summary>0 replicates everything. Stages 1 to 3 do not exist in this release.</summary>
    [JsonPropertyName("stage")]
    public int Stage { get; init; }

    /// <summary>Largest number of gradient elements reduced in one collective. DeepSpeed's default.</summary>
    [JsonPropertyName("reduce_bucket_size")]
    public long ReduceBucketSize { get; init; } = 500_000_000;

    private static readonly string[] Planned =
    [
        "contiguous_gradients", "reduce_scatter", "use_multi_rank_bucket_allreduce", "allgather_partitions",
        "allgather_bucket_size", "overlap_comm", "load_from_fp32_weights", "elastic_checkpoint", "offload_param",
        "offload_optimizer", "sub_group_size", "stage3_prefetch_bucket_size", "stage3_param_persistence_threshold",
        "stage3_model_persistence_threshold", "stage3_max_live_parameters", "stage3_max_reuse_distance",
        "stage3_gather_16bit_weights_on_model_save", "stage3_module_granularity_threshold",
        "ignore_unused_parameters", "round_robin_gradients", "zero_hpz_partition_size", "zero_quantized_weights",
        "zero_quantized_nontrainable_weights", "zero_quantized_gradients", "mics_shard_size",
        "mics_hierarchical_params_gather", "memory_efficient_linear", "cpu_offload", "cpu_offload_param",
    ];

    internal static ZeroConfig Read(ConfigSection root, ConfigErrors errors)
    {
        const string Key = "zero_optimization";
        if (root.Value(Key) is not { } value)
        {
            if (root.Has(Key))
            {
                errors.Add(Key, "null is not a section", "write { \"stage\": 0 } or remove the key");
            }

            return new ZeroConfig();
        }

        if (value.ValueKind == JsonValueKind.False)
        {
            return new ZeroConfig();
        }

        if (value.ValueKind == JsonValueKind.True)
        {
            errors.Add(Key, "true means stage 1, which is not supported yet", "write false, or { \"stage\": 0 }");
            return new ZeroConfig();
        }

        if (value.ValueKind != JsonValueKind.Object)
        {
            errors.Add(Key, $"{value.GetRawText()} is not a section", "write { \"stage\": 0 }");
            return new ZeroConfig();
        }

        ConfigSection section = root.Section(Key)!;
        int stage = section.Int("stage", minimum: int.MinValue) ?? 0;
        if (stage is 1 or 2 or 3)
        {
            section.Problem("stage", $"ZeRO stage {stage} is not supported yet", "use 0");
        }
        else if (stage != 0)
        {
            section.Problem("stage", $"{stage} is not a ZeRO stage", "use 0");
        }

        var config = new ZeroConfig
        {
            Stage = stage,
            ReduceBucketSize = section.Long("reduce_bucket_size", minimum: 1) ?? 500_000_000,
        };
        section.End(Planned);
        return config;
    }
}

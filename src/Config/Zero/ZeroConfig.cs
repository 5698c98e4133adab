using System.Text.Json.Serialization;

namespace DeepSpeedSharp.Config;

/// <summary>The <c>zero_optimization</c> section: which training state is sharded over the ranks.</summary>
/// <remarks>Stages 1 to 3 are P_os, P_os+g and P_os+g+p of Rajbhandari et al., "ZeRO", 2020, section 5. The defaults
/// are DeepSpeed's; <see cref="EngineLimits"/> knows what the engine of this release can do of it.</remarks>
public sealed record ZeroConfig
{
    /// <summary>0 replicates everything; 1 shards optimizer state, 2 also gradients, 3 also parameters.</summary>
    [JsonPropertyName("stage")]
    public int Stage { get; init; }

    /// <summary>Copies gradients into a contiguous bucket as they appear.</summary>
    [JsonPropertyName("contiguous_gradients")]
    public bool ContiguousGradients { get; init; } = true;

    /// <summary>Reduces gradients to their owners only.</summary>
    [JsonPropertyName("reduce_scatter")]
    public bool ReduceScatter { get; init; } = true;

    /// <summary>Largest number of gradient elements reduced in one collective.</summary>
    [JsonPropertyName("reduce_bucket_size")]
    public long ReduceBucketSize { get; init; } = 500_000_000;

    /// <summary>One all-reduce per bucket for several owners.</summary>
    [JsonPropertyName("use_multi_rank_bucket_allreduce")]
    public bool UseMultiRankBucketAllReduce { get; init; } = true;

    /// <summary>Kept for old files; has no effect.</summary>
    [JsonPropertyName("allgather_partitions")]
    public bool AllGatherPartitions { get; init; } = true;

    /// <summary>Largest number of parameter elements gathered in one collective.</summary>
    [JsonPropertyName("allgather_bucket_size")]
    public long AllGatherBucketSize { get; init; } = 500_000_000;

    /// <summary>Reduces gradients while backward runs; the default is true for stage 3 only.</summary>
    [JsonPropertyName("overlap_comm")]
    public bool OverlapComm { get; init; }

    /// <summary>Restores master weights from the checkpoint's fp32 copy.</summary>
    [JsonPropertyName("load_from_fp32_weights")]
    public bool LoadFromFp32Weights { get; init; } = true;

    /// <summary>Saves optimizer state without padding.</summary>
    [JsonPropertyName("elastic_checkpoint")]
    public bool ElasticCheckpoint { get; init; }

    /// <summary>Parameters outside the GPU; null keeps them there.</summary>
    [JsonPropertyName("offload_param")]
    public OffloadParamConfig? OffloadParam { get; init; }

    /// <summary>Optimizer state outside the GPU; null keeps it there.</summary>
    [JsonPropertyName("offload_optimizer")]
    public OffloadOptimizerConfig? OffloadOptimizer { get; init; }

    /// <summary>Ignores parameters that backward does not reach.</summary>
    [JsonPropertyName("ignore_unused_parameters")]
    public bool IgnoreUnusedParameters { get; init; } = true;

    /// <summary>Deals parameters to ranks in turn.</summary>
    [JsonPropertyName("round_robin_gradients")]
    public bool RoundRobinGradients { get; init; }

    /// <summary>Asks for DeepSpeed's first version of stage 1, which no longer exists.</summary>
    [JsonPropertyName("legacy_stage1")]
    public bool LegacyStage1 { get; init; }

    /// <summary>Checks that all ranks agree, at a cost.</summary>
    [JsonPropertyName("enable_sanity_checks")]
    public bool EnableSanityChecks { get; init; }

    /// <summary>Keeps Muon's running mean in memory when the rest is offloaded.</summary>
    [JsonPropertyName("save_muon_momentum_buffer_in_memory")]
    public bool SaveMuonMomentumBufferInMemory { get; init; }

    /// <summary>What matters in stage 3 only; its keys stand in the same section.</summary>
    [JsonIgnore]
    public ZeroStage3Config Stage3 { get; init; } = new();

    /// <summary>ZeRO++ and MiCS; their keys stand in the same section.</summary>
    [JsonIgnore]
    public ZeroPlusPlusConfig PlusPlus { get; init; } = new();
}

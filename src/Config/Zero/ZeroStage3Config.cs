using System.Text.Json.Serialization;

namespace DeepSpeedSharp.Config;

/// <summary>The keys of <c>zero_optimization</c> that matter in stage 3 only; the defaults are DeepSpeed's.</summary>
/// <remarks>Each key works with and without the prefix <c>stage3_</c>, where it has one.</remarks>
public sealed record ZeroStage3Config
{
    /// <summary>Elements of one group of the optimizer's update.</summary>
    [JsonPropertyName("sub_group_size")]
    public long SubGroupSize { get; init; } = 1_000_000_000;

    /// <summary>Elements gathered ahead of their use.</summary>
    [JsonPropertyName("stage3_prefetch_bucket_size")]
    public long PrefetchBucketSize { get; init; } = 50_000_000;

    /// <summary>Parameters of at most this many elements stay gathered.</summary>
    [JsonPropertyName("stage3_param_persistence_threshold")]
    public long ParamPersistenceThreshold { get; init; } = 100_000;

    /// <summary>Largest number of elements that stay gathered.</summary>
    [JsonPropertyName("stage3_model_persistence_threshold")]
    public long ModelPersistenceThreshold { get; init; } = long.MaxValue;

    /// <summary>Largest number of elements gathered at one time.</summary>
    [JsonPropertyName("stage3_max_live_parameters")]
    public long MaxLiveParameters { get; init; } = 1_000_000_000;

    /// <summary>Keeps a parameter that is used again within this many elements.</summary>
    [JsonPropertyName("stage3_max_reuse_distance")]
    public long MaxReuseDistance { get; init; } = 1_000_000_000;

    /// <summary>Allows to save the whole model in 16 bits.</summary>
    [JsonPropertyName("stage3_gather_16bit_weights_on_model_save")]
    public bool Gather16BitWeightsOnModelSave { get; init; }

    /// <summary>Modules of fewer elements are gathered as one; 0 turns this off.</summary>
    [JsonPropertyName("stage3_module_granularity_threshold")]
    public long ModuleGranularityThreshold { get; init; }

    /// <summary>Gathers by summing buffers that are zero elsewhere.</summary>
    [JsonPropertyName("stage3_use_all_reduce_for_fetch_params")]
    public bool UseAllReduceForFetchParams { get; init; }

    /// <summary>One gather per parameter.</summary>
    [JsonPropertyName("stage3_allgather_sequential")]
    public bool AllGatherSequential { get; init; }

    /// <summary>Replaces linear layers by ones that keep less for backward.</summary>
    [JsonPropertyName("memory_efficient_linear")]
    public bool MemoryEfficientLinear { get; init; } = true;

    /// <summary>Overlaps reading and copying when a checkpoint is loaded from disk.</summary>
    [JsonPropertyName("pipeline_loading_checkpoint")]
    public bool PipelineLoadingCheckpoint { get; init; }

    /// <summary>Gathers parameters for functions applied to all modules.</summary>
    [JsonPropertyName("override_module_apply")]
    public bool OverrideModuleApply { get; init; } = true;

    /// <summary>Warns when the order of modules changes between steps.</summary>
    [JsonPropertyName("log_trace_cache_warnings")]
    public bool LogTraceCacheWarnings { get; init; }

    /// <summary>Modules gathered as one; null means none.</summary>
    [JsonPropertyName("leaf_module")]
    public ZeroLeafModuleConfig? LeafModule { get; init; }

    internal static ZeroStage3Config Read(ConfigSection section)
    {
        var defaults = new ZeroStage3Config();
        foreach (string name in (ReadOnlySpan<string>)
        [
            "prefetch_bucket_size", "param_persistence_threshold", "model_persistence_threshold", "max_live_parameters",
            "max_reuse_distance", "gather_16bit_weights_on_model_save", "module_granularity_threshold",
            "use_all_reduce_for_fetch_params", "allgather_sequential",
        ])
        {
            section.Alias($"stage3_{name}", name);
        }

        section.Alias("stage3_gather_16bit_weights_on_model_save", "stage3_gather_fp16_weights_on_model_save",
            "gather_fp16_weights_on_model_save");
        return new ZeroStage3Config
        {
            SubGroupSize = section.Long("sub_group_size", minimum: 1) ?? defaults.SubGroupSize,
            PrefetchBucketSize = section.Long("stage3_prefetch_bucket_size", minimum: 0) ?? defaults.PrefetchBucketSize,
            ParamPersistenceThreshold =
                section.Long("stage3_param_persistence_threshold", minimum: 0) ?? defaults.ParamPersistenceThreshold,
            ModelPersistenceThreshold =
                section.Long("stage3_model_persistence_threshold", minimum: 0) ?? defaults.ModelPersistenceThreshold,
            MaxLiveParameters = section.Long("stage3_max_live_parameters", minimum: 0) ?? defaults.MaxLiveParameters,
            MaxReuseDistance = section.Long("stage3_max_reuse_distance", minimum: 0) ?? defaults.MaxReuseDistance,
            Gather16BitWeightsOnModelSave = section.Flag("stage3_gather_16bit_weights_on_model_save") ?? false,
            ModuleGranularityThreshold = section.Long("stage3_module_granularity_threshold", minimum: 0) ?? 0,
            UseAllReduceForFetchParams = section.Flag("stage3_use_all_reduce_for_fetch_params") ?? false,
            AllGatherSequential = section.Flag("stage3_allgather_sequential") ?? false,
            MemoryEfficientLinear = section.Flag("memory_efficient_linear") ?? true,
            PipelineLoadingCheckpoint = section.Flag("pipeline_loading_checkpoint") ?? false,
            OverrideModuleApply = section.Flag("override_module_apply") ?? true,
            LogTraceCacheWarnings = section.Flag("log_trace_cache_warnings") ?? false,
            LeafModule = ZeroLeafModuleConfig.Read(section),
        };
    }
}

/// <summary>The <c>zero_optimization.leaf_module</c> section: modules that stage 3 gathers as one.</summary>
public sealed record ZeroLeafModuleConfig
{
    /// <summary>By the name of their class.</summary>
    [JsonPropertyName("classes")]
    public IReadOnlyList<string> Classes { get; init; } = ValueList.Of<string>();

    /// <summary>By their full name in the model.</summary>
    [JsonPropertyName("names")]
    public IReadOnlyList<string> Names { get; init; } = ValueList.Of<string>();

    /// <summary>By the end of their name.</summary>
    [JsonPropertyName("name_suffixes")]
    public IReadOnlyList<string> NameSuffixes { get; init; } = ValueList.Of<string>();

    internal static ZeroLeafModuleConfig? Read(ConfigSection zero)
    {
        if (zero.Section("leaf_module") is not { } section)
        {
            return null;
        }

        var config = new ZeroLeafModuleConfig
        {
            Classes = section.Texts("classes") ?? ValueList.Of<string>(),
            Names = section.Texts("names") ?? ValueList.Of<string>(),
            NameSuffixes = section.Texts("name_suffixes") ?? ValueList.Of<string>(),
        };
        section.End();
        return config;
    }
}

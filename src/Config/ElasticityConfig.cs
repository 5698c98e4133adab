using System.Text.Json.Serialization;

namespace DeepSpeedSharp.Config;

/// <summary>The <c>elasticity</c> section: batch sizes that fit many numbers of ranks.</summary>
public sealed record ElasticityConfig
{
    /// <summary>Whether the batch sizes are chosen for the number of ranks.</summary>
    [JsonPropertyName("enabled")]
    public bool Enabled { get; init; }

    /// <summary>Largest train batch size.</summary>
    [JsonPropertyName("max_train_batch_size")]
    public int MaxTrainBatchSize { get; init; } = 2000;

    /// <summary>Micro batch sizes to choose from.</summary>
    [JsonPropertyName("micro_batch_sizes")]
    public IReadOnlyList<int> MicroBatchSizes { get; init; } = ValueList.Of(2, 4, 6);

    /// <summary>Smallest number of GPUs.</summary>
    [JsonPropertyName("min_gpus")]
    public int MinGpus { get; init; } = 1;

    /// <summary>Largest number of GPUs.</summary>
    [JsonPropertyName("max_gpus")]
    public int MaxGpus { get; init; } = 10_000;

    /// <summary>Minutes to run before the number of GPUs may change.</summary>
    [JsonPropertyName("min_time")]
    public int MinTimeMinutes { get; init; }

    /// <summary>Prefers the larger of two batch sizes that fit equally well.</summary>
    [JsonPropertyName("prefer_larger_batch")]
    public bool PreferLargerBatch { get; init; } = true;

    /// <summary>Lets the config name batch sizes too, which are then ignored.</summary>
    [JsonPropertyName("ignore_non_elastic_batch_info")]
    public bool IgnoreNonElasticBatchInfo { get; init; }

    /// <summary>0.1, or 0.2 for model parallelism and whole nodes.</summary>
    [JsonPropertyName("version")]
    public double Version { get; init; } = 0.2;

    /// <summary>Ranks of one copy of the model.</summary>
    [JsonPropertyName("model_parallel_size")]
    public int ModelParallelSize { get; init; } = 1;

    /// <summary>GPUs of one node.</summary>
    [JsonPropertyName("num_gpus_per_node")]
    public int GpusPerNode { get; init; } = 1;

    internal static ElasticityConfig Read(ConfigSection root)
    {
        var defaults = new ElasticityConfig();
        if (root.Section("elasticity") is not { } section)
        {
            return defaults;
        }

        bool enabled = section.Flag("enabled") ?? false;
        if (enabled)
        {
            Require(section, "max_train_batch_size", "2000");
            Require(section, "micro_batch_sizes", "[2, 4, 6]");
        }

        var config = new ElasticityConfig
        {
            Enabled = enabled,
            MaxTrainBatchSize = section.Int("max_train_batch_size", minimum: 1) ?? defaults.MaxTrainBatchSize,
            MicroBatchSizes = section.Ints("micro_batch_sizes", minimum: 1) ?? defaults.MicroBatchSizes,
            MinGpus = section.Int("min_gpus", minimum: 1) ?? defaults.MinGpus,
            MaxGpus = section.Int("max_gpus", minimum: 1) ?? defaults.MaxGpus,
            MinTimeMinutes = section.Int("min_time", minimum: 0) ?? defaults.MinTimeMinutes,
            PreferLargerBatch = section.Flag("prefer_larger_batch") ?? defaults.PreferLargerBatch,
            IgnoreNonElasticBatchInfo = section.Flag("ignore_non_elastic_batch_info") ?? false,
            Version = section.Number("version", new(v => v is 0.1 or 0.2, "0.1 or 0.2")) ?? defaults.Version,
            ModelParallelSize = section.Int("model_parallel_size", minimum: 1) ?? defaults.ModelParallelSize,
            GpusPerNode = section.Int("num_gpus_per_node", minimum: 1) ?? defaults.GpusPerNode,
        };
        Check(section, config);
        section.End();
        return config;
    }

    private static void Require(ConfigSection section, string key, string example)
    {
        if (!section.Has(key))
        {
            section.Problem(key, "elasticity needs it", $"add \"{key}\", for example {example}");
        }
    }

    private static void Check(ConfigSection section, ElasticityConfig config)
    {
        if (config.MinGpus > config.MaxGpus)
        {
            section.Problem("min_gpus", $"{config.MinGpus} is above max_gpus, which is {config.MaxGpus}", "use a smaller one");
        }

        if (config is { ModelParallelSize: > 1, Version: < 0.2 })
        {
            section.Problem("model_parallel_size", "model parallelism needs version 0.2", "write \"version\": 0.2");
        }

        if (config.Enabled && config.MicroBatchSizes.Any(m => m > config.MaxTrainBatchSize))
        {
            section.Problem("micro_batch_sizes", $"one is above max_train_batch_size, which is {config.MaxTrainBatchSize}",
                "use smaller ones");
        }
    }
}

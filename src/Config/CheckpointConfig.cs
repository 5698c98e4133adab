using System.Text.Json.Serialization;

namespace DeepSpeedSharp.Config;

/// <summary>What happens when ranks save a checkpoint under different names.</summary>
[JsonConverter(typeof(JsonStringEnumConverter<TagValidation>))]
public enum TagValidation
{
    /// <summary>A warning.</summary>
    Warn,

    /// <summary>Nothing.</summary>
    Ignore,

    /// <summary>An error.</summary>
    Fail,
}

/// <summary>The <c>checkpoint</c> section; the defaults are DeepSpeed's.</summary>
public sealed record CheckpointConfig
{
    /// <summary>What happens when ranks name a checkpoint differently.</summary>
    [JsonPropertyName("tag_validation")]
    public TagValidation TagValidation { get; init; }

    /// <summary>Loads a checkpoint in the universal format.</summary>
    [JsonPropertyName("load_universal")]
    public bool LoadUniversal { get; init; }

    /// <summary>The folder is local to each node, so every node makes it and writes its part.</summary>
    [JsonPropertyName("use_node_local_storage")]
    public bool UseNodeLocalStorage { get; init; }

    /// <summary>Writing by several ranks at once.</summary>
    [JsonPropertyName("parallel_write")]
    public ParallelWriteConfig ParallelWrite { get; init; } = new();

    /// <summary>How files are written.</summary>
    [JsonPropertyName("writer")]
    public CheckpointWriterConfig Writer { get; init; } = new();

    /// <summary>DeepSpeed's choice of PyTorch's zip format.</summary>
    [JsonPropertyName("checkpoint_serialization")]
    public bool CheckpointSerialization { get; init; } = true;

    internal static CheckpointConfig Read(ConfigSection root)
    {
        if (root.Section("checkpoint") is not { } section)
        {
            return new CheckpointConfig();
        }

        var config = new CheckpointConfig
        {
            TagValidation = section.Choice("tag_validation",
                ("Warn", TagValidation.Warn), ("Ignore", TagValidation.Ignore), ("Fail", TagValidation.Fail)) ?? default,
            LoadUniversal = section.Flag("load_universal") ?? false,
            UseNodeLocalStorage = section.Flag("use_node_local_storage") ?? false,
            ParallelWrite = ParallelWriteConfig.Read(section),
            CheckpointSerialization = section.Flag("checkpoint_serialization") ?? true,
            Writer = CheckpointWriterConfig.Read(section),
        };
        section.End();
        return config;
    }
}

/// <summary>The <c>checkpoint.parallel_write</c> section.</summary>
public sealed record ParallelWriteConfig
{
    /// <summary>The data-parallel ranks of a pipeline stage write its layers together.</summary>
    [JsonPropertyName("pipeline_stage")]
    public bool PipelineStage { get; init; }

    internal static ParallelWriteConfig Read(ConfigSection checkpoint)
    {
        if (checkpoint.Section("parallel_write") is not { } section)
        {
            return new ParallelWriteConfig();
        }

        var config = new ParallelWriteConfig { PipelineStage = section.Flag("pipeline_stage") ?? false };
        section.End();
        return config;
    }
}

using System.Text.Json.Serialization;

namespace DeepSpeedSharp.Config;

/// <summary>DeepSpeed's kinds of checkpoint writers.</summary>
[JsonConverter(typeof(JsonStringEnumConverter<CheckpointWriterType>))]
public enum CheckpointWriterType
{
    /// <summary>Large buffers, filled while others are written.</summary>
    Fast,

    /// <summary>Writes nothing, for measurements.</summary>
    Mock,

    /// <summary>PyTorch's own.</summary>
    Python,
}

/// <summary>Which ranks share the writing of what all of them have.</summary>
[JsonConverter(typeof(JsonStringEnumConverter<CheckpointDataParallel>))]
public enum CheckpointDataParallel
{
    /// <summary>All data-parallel ranks.</summary>
    Replica,

    /// <summary>Those of a processor socket.</summary>
    Socket,

    /// <summary>Those of a machine.</summary>
    Machine,
}

/// <summary>The <c>checkpoint.writer</c> section; the defaults are DeepSpeed's.</summary>
public sealed record CheckpointWriterConfig
{
    /// <summary>The kind; null and all but <see cref="CheckpointWriterType.Mock"/> are the engine's only writer.</summary>
    [JsonPropertyName("type")]
    public CheckpointWriterType? Type { get; init; }

    /// <summary>Bytes that go to the disk at a time.</summary>
    [JsonPropertyName("io_buffer_size")]
    public long IoBufferSize { get; init; } = 64 << 20;

    /// <summary>Fills the next buffer while one is being written.</summary>
    [JsonPropertyName("io_buffer_double")]
    public bool IoBufferDouble { get; init; } = true;

    /// <summary>Says after each checkpoint how fast it was written.</summary>
    [JsonPropertyName("show_statistics")]
    public bool ShowStatistics { get; init; }

    /// <summary>Which ranks share the writing; null is the engine's way, all of them.</summary>
    [JsonPropertyName("data_parallel")]
    public CheckpointDataParallel? DataParallel { get; init; }

    /// <summary>Writes a copy while training goes on.</summary>
    [JsonPropertyName("decoupled")]
    public bool Decoupled { get; init; }

    /// <summary>Writes everything so many times, for measurements.</summary>
    [JsonPropertyName("io_multiplier")]
    public int IoMultiplier { get; init; } = 1;

    internal static CheckpointWriterConfig Read(ConfigSection checkpoint)
    {
        var defaults = new CheckpointWriterConfig();
        if (checkpoint.Section("writer") is not { } section)
        {
            return defaults;
        }

        var config = new CheckpointWriterConfig
        {
            Type = section.Choice("type",
                ("FAST", CheckpointWriterType.Fast), ("MOCK", CheckpointWriterType.Mock), ("PYTHON", CheckpointWriterType.Python)),
            IoBufferSize = section.Long("io_buffer_size", minimum: 1) ?? defaults.IoBufferSize,
            IoBufferDouble = section.Flag("io_buffer_double") ?? defaults.IoBufferDouble,
            ShowStatistics = section.Flag("show_statistics") ?? defaults.ShowStatistics,
            DataParallel = section.Choice("data_parallel", ("replica", CheckpointDataParallel.Replica),
                ("socket", CheckpointDataParallel.Socket), ("machine", CheckpointDataParallel.Machine)),
            Decoupled = section.Flag("decoupled") ?? defaults.Decoupled,
            IoMultiplier = section.Int("io_multiplier", minimum: 1) ?? defaults.IoMultiplier,
        };
        section.End();
        return config;
    }
}

using System.Text.Json.Serialization;

namespace DeepSpeedSharp.Config;

/// <summary>The <c>aio</c> section: how files are read and written when state is offloaded to a disk.</summary>
public sealed record AsyncIOConfig
{
    /// <summary>Bytes of one request.</summary>
    [JsonPropertyName("block_size")]
    public int BlockSizeBytes { get; init; } = 1_048_576;

    /// <summary>Requests in flight per thread.</summary>
    [JsonPropertyName("queue_depth")]
    public int QueueDepth { get; init; } = 8;

    /// <summary>Threads per operation.</summary>
    [JsonPropertyName("intra_op_parallelism")]
    public int IntraOpParallelism { get; init; } = 1;

    /// <summary>Submits requests one by one.</summary>
    [JsonPropertyName("single_submit")]
    public bool SingleSubmit { get; init; }

    /// <summary>Submits new requests while others are in flight.</summary>
    [JsonPropertyName("overlap_events")]
    public bool OverlapEvents { get; init; } = true;

    /// <summary>Moves data between disk and GPU without host memory.</summary>
    [JsonPropertyName("use_gds")]
    public bool UseGds { get; init; }

    internal static AsyncIOConfig Read(ConfigSection root)
    {
        var defaults = new AsyncIOConfig();
        if (root.Section("aio") is not { } section)
        {
            return defaults;
        }

        section.Alias("intra_op_parallelism", "thread_count");
        var config = new AsyncIOConfig
        {
            BlockSizeBytes = section.Int("block_size", minimum: 1) ?? defaults.BlockSizeBytes,
            QueueDepth = section.Int("queue_depth", minimum: 1) ?? defaults.QueueDepth,
            IntraOpParallelism = section.Int("intra_op_parallelism", minimum: 1) ?? defaults.IntraOpParallelism,
            SingleSubmit = section.Flag("single_submit") ?? defaults.SingleSubmit,
            OverlapEvents = section.Flag("overlap_events") ?? defaults.OverlapEvents,
            UseGds = section.Flag("use_gds") ?? defaults.UseGds,
        };
        section.End();
        return config;
    }
}

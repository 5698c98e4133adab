using System.ComponentModel;
using System.Text.Json;
using System.Text.Json.Serialization;

namespace DeepSpeedSharp.Jobs;

/// <summary>Between which numbers of nodes a job may change.</summary>
public sealed record ElasticSpec
{
    /// <summary>Fewest nodes.</summary>
    [Description("Fewest nodes the job runs with.")]
    [Range(1, 10_000)]
    [Default(1)]
    public int MinNodes { get; init; } = 1;

    /// <summary>Most nodes.</summary>
    [Description("Most nodes the job runs with; numNodes says how many are wanted.")]
    [Range(1, 10_000)]
    [Default(1)]
    public int MaxNodes { get; init; } = 1;

    /// <summary>When a job goes on without the pods that found no place.</summary>
    [Description("Seconds that pods may stay without a place before the job goes on with fewer nodes. Default 600.")]
    [Range(1, 86_400)]
    [Default(600)]
    public int? ScaleDownAfterSeconds { get; init; }

    /// <summary>How often a job that is smaller than wanted tries to grow.</summary>
    [Description("Seconds an attempt runs before a job that is smaller than numNodes tries that many again, after a checkpoint; doubled for each try that found no place. Default 1800.")]
    [Range(1, 864_000)]
    [Default(1800)]
    public int? ScaleUpCheckSeconds { get; init; }

    /// <summary>Fields this type does not know.</summary>
    [JsonExtensionData]
    public IDictionary<string, JsonElement>? Unknown { get; init; }
}

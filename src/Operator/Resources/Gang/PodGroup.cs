using System.Text.Json.Serialization;
using k8s;
using k8s.Models;

namespace DeepSpeedSharp.Operator.Resources.Gang;

/// <summary>A PodGroup of Volcano or of scheduler-plugins: as much of it as the operator writes.</summary>
internal sealed class PodGroup : IKubernetesObject<V1ObjectMeta>
{
    /// <summary>Plural name of the kind in both API groups.</summary>
    public const string Plural = "podgroups";

    /// <inheritdoc/>
    [JsonPropertyName("apiVersion")]
    public required string ApiVersion { get; set; }

    /// <inheritdoc/>
    [JsonPropertyName("kind")]
    public string Kind { get; set; } = "PodGroup";

    /// <inheritdoc/>
    [JsonPropertyName("metadata")]
    public required V1ObjectMeta Metadata { get; set; }

    /// <summary>What the group needs.</summary>
    [JsonPropertyName("spec")]
    public required PodGroupSpec Spec { get; set; }
}

/// <summary>What a group of pods needs.</summary>
internal sealed record PodGroupSpec
{
    /// <summary>Pods that must find a place at once.</summary>
    [JsonPropertyName("minMember")]
    public int MinMember { get; init; }

    /// <summary>What those pods request together.</summary>
    [JsonPropertyName("minResources")]
    public IReadOnlyDictionary<string, string>? MinResources { get; init; }

    /// <summary>Priority class of the pods; Volcano's only.</summary>
    [JsonPropertyName("priorityClassName")]
    public string? PriorityClassName { get; init; }

    /// <summary>The queue; Volcano's only.</summary>
    [JsonPropertyName("queue")]
    public string? Queue { get; init; }

    /// <summary>How long placed pods wait for the others; coscheduling's only.</summary>
    [JsonPropertyName("scheduleTimeoutSeconds")]
    public int? ScheduleTimeoutSeconds { get; init; }
}

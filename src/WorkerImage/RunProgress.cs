using System.Text.Json.Serialization;

namespace DeepSpeedSharp.Worker;

/// <summary>How far training is: what <c>/progress</c> serves and the operator shows.</summary>
internal sealed record RunProgress
{
    [JsonPropertyName("step")]
    public long Step { get; init; }

    [JsonPropertyName("totalSteps")]
    public long TotalSteps { get; init; }

    [JsonPropertyName("loss")]
    public double? Loss { get; init; }

    [JsonPropertyName("learningRate")]
    public double? LearningRate { get; init; }

    [JsonPropertyName("tokensPerSecond")]
    public double? TokensPerSecond { get; init; }

    [JsonPropertyName("etaSeconds")]
    public double? EtaSeconds { get; init; }

    [JsonPropertyName("lastCheckpointStep")]
    public long? LastCheckpointStep { get; init; }

    [JsonPropertyName("lastCheckpointTime")]
    public DateTimeOffset? LastCheckpointTime { get; init; }

    [JsonPropertyName("attempt")]
    public int? Attempt { get; init; }
}

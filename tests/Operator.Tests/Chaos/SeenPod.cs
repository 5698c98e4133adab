using System.Globalization;
using System.Text.Json.Nodes;

namespace DeepSpeedSharp.Operator.Tests.Chaos;

/// <summary>What the judges of a random run know of a pod. Read here and not by the operator's own code, so that a mistake in
/// that one is not made twice.</summary>
internal sealed record SeenPod(string Uid, string Name, string JobName, string JobUid, int Attempt, int Rank)
{
    public string Phase { get; init; } = "Pending";

    public int? ExitCode { get; init; }

    public DateTimeOffset? FinishedAt { get; init; }

    /// <summary>Whether Kubernetes says that it ended the pod itself.</summary>
    public bool WasEvicted { get; init; }

    public DateTimeOffset? DeletedAt { get; init; }

    public DateTimeOffset? DeletionDeadline { get; init; }

    public string? Machine { get; init; }

    public bool IsReady { get; init; }

    public bool HasNoPlace { get; init; }

    /// <summary>Image, template label and world size: equal for all pods of an attempt.</summary>
    public string Make { get; init; } = "";

    public string Image { get; init; } = "";

    public bool HasEnded => Phase is "Succeeded" or "Failed";

    /// <summary>Reads a pod; null when it is not one of a job.</summary>
    public static SeenPod? Read(JsonNode? pod)
    {
        if (pod?["metadata"] is not { } metadata || OwnerOf(metadata) is not { } owner
            || !int.TryParse(Label(metadata, "attempt"), NumberStyles.None, CultureInfo.InvariantCulture, out int attempt)
            || !int.TryParse(Label(metadata, "node-rank"), NumberStyles.None, CultureInfo.InvariantCulture, out int rank))
        {
            return null;
        }

        JsonNode? status = pod["status"];
        JsonNode? ended = status?["containerStatuses"]?[0]?["state"]?["terminated"];
        JsonNode? container = pod["spec"]?["containers"]?[0];
        DateTimeOffset? deadline = Time(metadata["deletionTimestamp"]);
        string image = (string?)container?["image"] ?? "";
        return new SeenPod((string?)metadata["uid"] ?? "", (string)metadata["name"]!, (string)owner["name"]!, (string)owner["uid"]!, attempt, rank)
        {
            Phase = (string?)status?["phase"] ?? "Pending",
            ExitCode = (int?)ended?["exitCode"],
            FinishedAt = Time(ended?["finishedAt"]),
            WasEvicted = (string?)status?["reason"] == "Evicted" || Condition(status, "DisruptionTarget") == "True",
            DeletionDeadline = deadline,
            DeletedAt = deadline - TimeSpan.FromSeconds((int?)metadata["deletionGracePeriodSeconds"] ?? 0),
            Machine = (string?)pod["spec"]?["nodeName"],
            IsReady = Condition(status, "Ready") == "True",
            HasNoPlace = Condition(status, "PodScheduled") == "False",
            Image = image,
            Make = $"{image} {(string?)metadata["labels"]?["edit"]} {WorldSize(container)}",
        };
    }

    /// <summary>The DeepSpeedJob that controls an object, or null.</summary>
    public static JsonNode? OwnerOf(JsonNode metadata) => (metadata["ownerReferences"] as JsonArray)?
        .FirstOrDefault(o => (bool?)o!["controller"] == true && (string?)o["kind"] == "DeepSpeedJob");

    public static string? Label(JsonNode metadata, string label) => (string?)metadata["labels"]?[$"deepspeedsharp.dev/{label}"];

    public static DateTimeOffset? Time(JsonNode? node) => (string?)node is { } text
        ? DateTimeOffset.Parse(text, CultureInfo.InvariantCulture, DateTimeStyles.AssumeUniversal | DateTimeStyles.AdjustToUniversal) : null;

    public static string? Condition(JsonNode? status, string type) => (string?)ConditionOf(status, type)?["status"];

    public static JsonNode? ConditionOf(JsonNode? status, string type) =>
        (status?["conditions"] as JsonArray)?.FirstOrDefault(c => (string?)c!["type"] == type);

    private static string? WorldSize(JsonNode? container) => (string?)(container?["env"] as JsonArray)?
        .FirstOrDefault(e => (string?)e!["name"] == "WORLD_SIZE")?["value"];
}

using System.Text.Json.Nodes;
using DeepSpeedSharp.Jobs;

namespace DeepSpeedSharp.Operator.Tests.Chaos;

/// <summary>A job as the judges of a random run see it.</summary>
internal sealed class SeenJob
{
    private static readonly string[] Causes = ["restarts", "disruptions", "resizes", "resumes"];
    private readonly JsonNode? _status;

    public SeenJob(JsonNode job)
    {
        Spec = DeepSpeedJobManifest.ReadSpec(job["spec"]?.DeepClone() as JsonObject ?? [], new Config.ConfigErrors());
        _status = job["status"];
        Name = (string)job["metadata"]!["name"]!;
        Uid = (string)job["metadata"]!["uid"]!;
        Generation = (long?)job["metadata"]!["generation"] ?? 0;
    }

    public DeepSpeedJobSpec? Spec { get; }

    public string Name { get; }

    public string Uid { get; }

    public long Generation { get; }

    public JsonNode? Status => _status;

    public string Phase => (string?)_status?["phase"] ?? "";

    public int Attempt => Count("attempt");

    public int Desired => (int?)_status?["nodes"]?["desired"] ?? 0;

    public bool IsComplete => SeenPod.Condition(_status, "Complete") == "True";

    public bool IsFailed => SeenPod.Condition(_status, "Failed") == "True";

    public bool IsFinished => IsComplete || IsFailed;

    /// <summary>Whether it is on record that its pods end because somebody suspended it.</summary>
    public bool IsSuspending => (string?)SeenPod.ConditionOf(_status, "Suspended")?["reason"] is "PodsEnding" or "SuspendedByUser";

    public bool IsRestarting => SeenPod.Condition(_status, "Restarting") == "True";

    public string? FailedReason => (string?)SeenPod.ConditionOf(_status, "Failed")?["reason"];

    public string? ScheduledReason => (string?)SeenPod.ConditionOf(_status, "Scheduled")?["reason"];

    public JsonNode? LastFailure => (_status?["lastFailures"] as JsonArray)?.FirstOrDefault();

    /// <summary>What all attempts so far were begun for, plus the first one.</summary>
    public int Sum => Causes.Sum(Count) + 1;

    public int Count(string counter) => (int?)_status?[counter] ?? 0;

    public DateTimeOffset? Time(string field) => SeenPod.Time(_status?[field]);

    public override string ToString() => $"{Name} ({Uid}) {_status?.ToJsonString()}";
}

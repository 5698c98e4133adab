using System.Globalization;
using System.Text.Json;
using DeepSpeedSharp.Jobs;
using DeepSpeedSharp.Operator.Api.V1Alpha1;
using DeepSpeedSharp.Operator.Resources;
using DeepSpeedSharp.Operator.Resources.Gang;

namespace DeepSpeedSharp.Operator.Planning;

/// <summary>What the operator keeps of a pod: a hundredth of the object, enough for every decision.</summary>
internal sealed record PodSnapshot
{
    public string Namespace { get; init; } = "";

    public string Name { get; init; } = "";

    public string Uid { get; init; } = "";

    /// <summary>UID of the controlling DeepSpeedJob; null for any other owner.</summary>
    public string? OwnerUid { get; init; }

    public string? OwnerName { get; init; }

    public int Attempt { get; init; }

    public int Index { get; init; }

    public string Phase { get; init; } = "Pending";

    /// <summary><c>status.reason</c>, for example Evicted.</summary>
    public string? Reason { get; init; }

    public string? Message { get; init; }

    public string? ClusterNode { get; init; }

    public string? PodIp { get; init; }

    public bool IsReady { get; init; }

    /// <summary>Why no machine was found, when the scheduler said so.</summary>
    public string? UnschedulableMessage { get; init; }

    /// <summary>Reason of the condition DisruptionTarget or TerminationTarget, when it is True.</summary>
    public string? DisruptionReason { get; init; }

    /// <summary>When the deletion was asked for; null when it was not.</summary>
    public DateTimeOffset? DeletedAt { get; init; }

    /// <summary>When the grace period of the deletion ends.</summary>
    public DateTimeOffset? DeletionDeadline { get; init; }

    // How long the deletion has been asked for.
    private MeasuredAge? Ending { get; init; }

    public int? ExitCode { get; init; }

    public DateTimeOffset? FinishedAt { get; init; }

    /// <summary>Reason of the container's end, for example OOMKilled.</summary>
    public string? TerminatedReason { get; init; }

    public string? TerminationMessage { get; init; }

    /// <summary>Why the container waits, for example ImagePullBackOff.</summary>
    public string? WaitingReason { get; init; }

    public string? WaitingMessage { get; init; }

    /// <summary>Kueue's group of the pod; null without.</summary>
    public string? Group { get; init; }

    /// <summary>Whether it tells Kueue that its group gets no more pods.</summary>
    public bool ClosesGroup { get; init; }

    /// <summary>Whether somebody keeps the scheduler from looking at it, as a queue does.</summary>
    public bool IsGated { get; init; }

    /// <summary>Whether its object stays after a deletion until somebody lets it go.</summary>
    public bool HasFinalizers { get; init; }

    /// <summary>Whether its program succeeded; sidecars may still run.</summary>
    public bool IsSucceeded => Phase == "Succeeded" || (Phase == "Running" && ExitCode == 0);

    /// <summary>Whether its program failed, or the pod as a whole.</summary>
    public bool IsFailed => Phase == "Failed" || (Phase == "Running" && ExitCode is not null and not 0);

    /// <summary>Whether all of its containers have ended for good.</summary>
    public bool IsTerminal => Phase is "Succeeded" or "Failed";

    /// <summary>Whether its program has ended for good.</summary>
    public bool IsFinished => IsSucceeded || IsFailed;

    /// <summary>Namespace and name.</summary>
    public string Key => $"{Namespace}/{Name}";

    /// <summary>Namespace and name of the owner.</summary>
    public string? OwnerKey => OwnerName is null ? null : $"{Namespace}/{OwnerName}";

    /// <summary>Reads a pod as the API server sends it.</summary>
    public static PodSnapshot Read(JsonElement pod)
    {
        JsonElement metadata = pod.GetProperty("metadata");
        JsonElement labels = metadata.Get("labels");
        JsonElement status = pod.Get("status");
        JsonElement owner = OwnerOf(metadata);
        JsonElement containers = status.Get("containerStatuses");
        JsonElement container = Find(containers, c => c.Text("name") == WorkerPods.ContainerName);
        JsonElement terminated = container.Get("state").Get("terminated");
        JsonElement waiting = container.Get("state").Get("waiting");
        JsonElement conditions = status.Get("conditions");
        DateTimeOffset? deadline = metadata.Time("deletionTimestamp");
        return new PodSnapshot
        {
            Namespace = metadata.Text("namespace") ?? "",
            Name = metadata.Text("name") ?? "",
            Uid = metadata.Text("uid") ?? "",
            OwnerUid = owner.Text("uid"),
            OwnerName = owner.Text("name"),
            Attempt = Number(labels.Text(JobLabels.Attempt)),
            Index = Number(labels.Text(JobLabels.NodeRank)),
            Phase = status.Text("phase") ?? "Pending",
            Reason = status.Text("reason"),
            Message = status.Text("message"),
            ClusterNode = pod.Get("spec").Text("nodeName"),
            PodIp = status.Text("podIP"),
            IsReady = Condition(conditions, "Ready").Text("status") == "True",
            UnschedulableMessage = Condition(conditions, "PodScheduled") is var scheduled
                && scheduled.Text("reason") == "Unschedulable" ? scheduled.Text("message") : null,
            DisruptionReason = Find(conditions, c => c.Text("type") is "DisruptionTarget" or "TerminationTarget"
                && c.Text("status") == "True") is { ValueKind: JsonValueKind.Object } disruption
                ? disruption.Text("reason") ?? disruption.Text("type") : null,
            DeletionDeadline = deadline,
            DeletedAt = deadline - TimeSpan.FromSeconds(metadata.Number("deletionGracePeriodSeconds") ?? 0),
            ExitCode = (int?)terminated.Number("exitCode"),
            FinishedAt = terminated.Time("finishedAt"),
            TerminatedReason = terminated.Text("reason"),
            TerminationMessage = terminated.Text("message"),
            WaitingReason = waiting.Text("reason"),
            WaitingMessage = waiting.Text("message"),
            Group = labels.Text(KueueGroup.NameLabel),
            ClosesGroup = metadata.Get("annotations").Text(KueueGroup.RetriableAnnotation) == "false",
            IsGated = HasItems(pod.Get("spec").Get("schedulingGates")),
            HasFinalizers = HasItems(metadata.Get("finalizers")),
        };
    }

    /// <summary>The same pod with what is known of how long it has been ending.</summary>
    /// <param name="known">What was known of a pod of this name; null for nothing.</param>
    /// <param name="isNews">Whether what is not known here yet happened while this process looked.</param>
    /// <param name="time">Clock.</param>
    public PodSnapshot Following(PodSnapshot? known, bool isNews, TimeProvider time)
    {
        if (DeletedAt is not { } since)
        {
            return this;
        }

        MeasuredAge? before = known?.Uid == Uid ? known.Ending : null;
        return this with { Ending = before ?? MeasuredAge.Of(since, isNews, time) };
    }

    /// <summary>The same pod with the end of its grace period as the clock here has it: what counts is how long it was measured,
    /// not how far two clocks are apart.</summary>
    /// <param name="time">Clock.</param>
    public PodSnapshot Here(TimeProvider time) =>
        Ending is { } ending ? this with { DeletionDeadline = time.GetUtcNow() - ending.Now(time) + (DeletionDeadline - DeletedAt) } : this;

    /// <summary>The reference to the DeepSpeedJob that controls an object; undefined without one.</summary>
    /// <param name="metadata">Metadata of the object.</param>
    public static JsonElement OwnerOf(JsonElement metadata) => Find(metadata.Get("ownerReferences"),
        o => o.Get("controller").ValueKind == JsonValueKind.True && o.Text("kind") == DeepSpeedJobManifest.Kind
            && o.Text("apiVersion")?.StartsWith(JobLabels.Prefix, StringComparison.Ordinal) == true);

    private static JsonElement Condition(JsonElement conditions, string type) => Find(conditions, c => c.Text("type") == type);

    /// <summary>The first entry of a list for which something is so; undefined when there is none.</summary>
    internal static JsonElement Find(JsonElement list, Func<JsonElement, bool> wanted) =>
        list.ValueKind == JsonValueKind.Array ? list.EnumerateArray().FirstOrDefault(wanted) : default;

    private static bool HasItems(JsonElement list) => list.ValueKind == JsonValueKind.Array && list.GetArrayLength() > 0;

    private static int Number(string? text) =>
        int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out int value) ? value : -1;
}

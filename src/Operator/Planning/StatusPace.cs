using DeepSpeedSharp.Operator.Api.V1Alpha1;

namespace DeepSpeedSharp.Operator.Planning;

/// <summary>Which status writes may wait for a moment, so that several become one: a start of 256 pods changes the counts
/// hundreds of times in some seconds.</summary>
/// <remarks>Nothing is decided from what waits: each pass counts anew, and attempts, ends and conditions are written at once. Only
/// who succeeded is known from the status alone when a pod is gone, so that waits for the shortest time.</remarks>
internal static class StatusPace
{
    private static readonly TimeSpan Shortest = TimeSpan.FromSeconds(1);

    /// <summary>Least time between two writes of counts alone.</summary>
    public static readonly TimeSpan Longest = TimeSpan.FromSeconds(20);

    // On the way from created pods to running ones.
    private static readonly HashSet<string> Passing =
    [
        Reasons.PodsNotCreated, Reasons.WaitingForScheduler, Reasons.WaitingForOldPods, Reasons.Unschedulable, Reasons.AllPodsScheduled,
    ];

    /// <summary>Least time between two writes, the second of which says nothing urgent.</summary>
    /// <param name="before">The status as last written.</param>
    /// <param name="after">The status to write.</param>
    public static TimeSpan Between(DeepSpeedJobStatus before, DeepSpeedJobStatus after) =>
        before.SucceededNodes == after.SucceededNodes ? Longest : Shortest;

    /// <summary>Whether only counts, messages and the way to running pods differ.</summary>
    /// <param name="before">The status as last written.</param>
    /// <param name="after">The status to write.</param>
    public static bool MayWait(DeepSpeedJobStatus before, DeepSpeedJobStatus after) =>
        before.Conditions is { } old && after.Conditions is { } now && old.Count == now.Count
        && Rest(before) == Rest(after)
        && (before.Phase == after.Phase || (IsStart(before.Phase) && IsStart(after.Phase)))
        && before.Nodes?.Desired == after.Nodes?.Desired
        && old.Zip(now).All(pair => MayWait(pair.First, pair.Second));

    private static bool MayWait(JobCondition before, JobCondition after) => before.Type == after.Type
        && ((before.Status == after.Status && before.Reason == after.Reason)
            || (before.Type == ConditionTypes.Scheduled && Passing.Contains(before.Reason) && Passing.Contains(after.Reason)));

    private static bool IsStart(string? phase) => phase is Phases.Scheduling or Phases.Starting;

    private static DeepSpeedJobStatus Rest(DeepSpeedJobStatus status) => status with
    {
        Phase = null,
        Message = null,
        Nodes = null,
        NodesText = null,
        Replicas = 0,
        SucceededNodes = null,
        Conditions = null,
    };
}

using DeepSpeedSharp.Config;
using DeepSpeedSharp.Jobs;
using DeepSpeedSharp.Operator.Api.V1Alpha1;
using DeepSpeedSharp.Operator.Resources.Gang;

namespace DeepSpeedSharp.Operator.Planning;

/// <summary>How gang schedulers and queues change what happens to a job.</summary>
internal static class GangPlan
{
    /// <summary>The spec that counts: gang and queue may also come from a label, and the gang from the administrator.</summary>
    /// <param name="spec">The spec as it is written.</param>
    /// <param name="queue">Queue of Kueue's that a label of the job names; null without.</param>
    /// <param name="usual">The gang scheduler of jobs that name none.</param>
    public static DeepSpeedJobSpec Effective(DeepSpeedJobSpec spec, string? queue, GangScheduler usual)
    {
        bool isOpen = string.IsNullOrEmpty(spec.Scheduling?.Gang), isLabelled = !string.IsNullOrEmpty(queue);
        GangScheduler gang = !isOpen ? spec.Gang() : isLabelled ? GangScheduler.Kueue : usual;
        SchedulingSpec? scheduling = spec.Scheduling;

        // Said outright where a field has no meaning without a gang, so that it is refused.
        bool asks = scheduling is { Queue: { Length: > 0 } } or { MinAvailable: not null } or { ScheduleTimeoutSeconds: not null };
        if (isOpen && (gang != GangScheduler.None || asks))
        {
            scheduling = (scheduling ?? new SchedulingSpec()) with { Gang = gang.ToString() };
        }

        if (gang == GangScheduler.Kueue && isLabelled && string.IsNullOrEmpty(scheduling!.Queue))
        {
            scheduling = scheduling with { Queue = queue };
        }

        return ReferenceEquals(scheduling, spec.Scheduling) ? spec : spec with { Scheduling = scheduling };
    }

    /// <summary>What is wrong with an edit of the queue; null when nothing is. The CRD has the same rule, which servers before
    /// 1.25 drop.</summary>
    /// <param name="spec">The spec that counts.</param>
    /// <param name="status">The status, which knows the queue that the job started in.</param>
    public static ConfigError? QueueProblem(DeepSpeedJobSpec spec, DeepSpeedJobStatus status) =>
        !spec.IsSuspended() && !status.IsSuspending() && status.Gang is { } gang && gang.Scheduler == spec.Gang().ToString()
            && (gang.Queue ?? "") != (spec.Scheduling?.Queue ?? "")
            ? new ConfigError("spec.scheduling.queue", $"it was {gang.Queue ?? "left out"} when the job started and can be changed only while the job is suspended",
                "set it back, or suspend the job, change it and resume the job")
            : null;

    /// <summary>How the pods of the next attempt are placed together; null when they are not.</summary>
    /// <param name="job">What was found.</param>
    /// <param name="next">The status of the next attempt, all but this.</param>
    /// <param name="spec">The spec, with that attempt's number of nodes.</param>
    public static GangStatus? Next(JobSnapshot job, DeepSpeedJobStatus next, DeepSpeedJobSpec spec)
    {
        GangScheduler scheduler = spec.Gang();
        if (scheduler == GangScheduler.None)
        {
            return null;
        }

        string group = scheduler != GangScheduler.Kueue ? PodGroups.Name(job.Name, next.Attempt)
            : KeepsGroup(job, next, spec) ? job.Status.Gang!.Group
            : KueueGroup.Name(job.Name, job.Uid, next.Attempt);
        return new GangStatus
        {
            Scheduler = scheduler.ToString(),
            Group = group,
            Queue = string.IsNullOrEmpty(spec.Scheduling!.Queue) ? null : spec.Scheduling.Queue,
        };
    }

    /// <summary>Notes when the queue let the pods go.</summary>
    /// <param name="job">What was found.</param>
    public static DeepSpeedJobStatus Admit(JobSnapshot job)
    {
        DeepSpeedJobStatus status = job.Status;
        return status.Gang is not { AdmittedTime: null } gang || !IsAdmitted(job, gang) ? status : status with { Gang = gang with { AdmittedTime = job.Now } };
    }

    /// <summary>Whether no pod may be made yet, as they would only take up quota of the namespace.</summary>
    public static bool Holds(JobSnapshot job) => job.Status.Gang is { Scheduler: nameof(GangScheduler.Volcano), AdmittedTime: null };

    /// <summary>Since when the pods could have been placed; null while a queue holds them.</summary>
    /// <param name="status">The status.</param>
    public static DateTimeOffset? PlaceableSince(DeepSpeedJobStatus status)
    {
        DateTimeOffset? start = new[] { status.LastStartTime, status.NextStartTime }.Max();
        return status.Gang?.Scheduler is nameof(GangScheduler.Volcano) or nameof(GangScheduler.Kueue)
            ? status.Gang.AdmittedTime is { } admitted ? new[] { start, admitted }.Max() : null : start;
    }

    /// <summary>What a job waits for that has no pods, or whose pods are held; null when a queue is not the cause.</summary>
    /// <param name="job">What was found.</param>
    public static (string Reason, string Message)? Wait(JobSnapshot job)
    {
        GangStatus? gang = job.Status.Gang;
        if (Holds(job))
        {
            string why = job.Group is { Message: { Length: > 0 } message } ? message : $"`kubectl describe podgroups.scheduling.volcano.sh {gang!.Group}` may say what it waits for.";
            return (Reasons.WaitingForGang, $"PodGroup {gang!.Group} waits until Volcano has room for {job.Spec?.MinAvailable()} pods in queue {gang.Queue ?? "default"}. {why}");
        }

        int gated = job.CurrentPods.Count(p => p is { IsGated: true, DeletedAt: null });
        return gated == 0 ? null
            : gang is { Scheduler: nameof(GangScheduler.Kueue) }
                ? (Reasons.QueuedByKueue, $"{gated} of {job.Desired} pods wait for quota in queue {gang.Queue}; `kubectl describe workload {gang.Group}` says for what.")
                : (Reasons.WaitingForScheduler, $"{gated} of {job.Desired} pods are held by a scheduling gate.");
    }

    /// <summary>Whether a pod of an earlier attempt still keeps the next one from starting.</summary>
    /// <param name="job">What was found.</param>
    /// <param name="pod">The pod.</param>
    public static bool IsEnding(JobSnapshot job, PodSnapshot pod) => !job.IsLost(pod)
        && (pod.Group is { } group && group == job.Status.Gang?.Group ? CountsForKueue(pod) : !pod.IsFinished && !IsOnlyHeld(pod));

    /// <summary>Pods that are to say to Kueue that their group gets no more, one for each group that is not used any more.</summary>
    /// <param name="pods">Pods of a job.</param>
    /// <param name="inUse">The group that the job goes on with; null when it is over.</param>
    public static PodSnapshot[] Close(IEnumerable<PodSnapshot> pods, string? inUse) =>
    [
        .. Unused(pods, inUse).Where(g => g.All(p => !p.ClosesGroup) && g.Any(p => p.HasFinalizers) && g.Any(p => p.Phase != "Succeeded"))
            .Select(g => g.OrderBy(p => p.Attempt).ThenBy(p => p.Index).Last()),
    ];

    /// <summary>Groups whose Workload has to go because Kueue alone would never let their pods go: some were deleted before
    /// they had a machine, so they come to no end by themselves.</summary>
    /// <param name="pods">Pods of a job.</param>
    /// <param name="inUse">The group that the job goes on with; null when it is over.</param>
    public static string[] Drop(IEnumerable<PodSnapshot> pods, string? inUse) =>
        [.. Unused(pods, inUse).Where(g => g.Any(p => IsOnlyHeld(p) && p.HasFinalizers)).Select(g => g.Key)];

    /// <summary>Whether the PodGroups of a job are over with a decision: it rests or ends, or goes on with another scheduler.</summary>
    public static bool EndsGroups(DeepSpeedJobStatus before, JobDecision decision) => before.Gang is { } gang
        && (decision.RemoveBudget || decision.Status.Gang?.Scheduler != gang.Scheduler);

    private static IEnumerable<IGrouping<string, PodSnapshot>> Unused(IEnumerable<PodSnapshot> pods, string? inUse) =>
        pods.Where(p => p.Group is not null && p.Group != inUse).GroupBy(p => p.Group!);

    // Deleted before it had a machine: nothing runs, and only its object is left.
    private static bool IsOnlyHeld(PodSnapshot pod) => pod is { DeletedAt: not null, ClusterNode: null };

    private static bool CountsForKueue(PodSnapshot pod) => pod.Phase != "Failed" && !IsOnlyHeld(pod);

    private static bool IsAdmitted(JobSnapshot job, GangStatus gang) => gang.Scheduler switch
    {
        nameof(GangScheduler.Volcano) => job.Group?.IsAdmitted == true,
        nameof(GangScheduler.Kueue) => job.CurrentPods.Count > 0 && job.CurrentPods.Count == job.Desired && job.CurrentPods.All(p => !p.IsGated),
        _ => false,
    };

    // Kueue compares pods with those it let in: other pods, or another number of them, need a new group. Pods that
    // succeeded count for ever, and those of a lost machine until somebody removes it.
    private static bool KeepsGroup(JobSnapshot job, DeepSpeedJobStatus next, DeepSpeedJobSpec spec)
    {
        DeepSpeedJobStatus before = job.Status;
        return before.Gang is { Scheduler: nameof(GangScheduler.Kueue) } gang && gang.Queue == spec.Scheduling!.Queue
            && !before.IsSuspending() && before.SpecHash == next.SpecHash && before.Nodes?.Desired == spec.Pods()
            && (before.AvoidedNodes ?? []).SequenceEqual(next.AvoidedNodes ?? [])
            && !job.Pods.Any(p => p.Group == gang.Group
                && (p.Phase == "Succeeded" || (p is { IsTerminal: false, ClusterNode: not null } && job.IsLost(p))));
    }
}

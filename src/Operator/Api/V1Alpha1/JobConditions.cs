namespace DeepSpeedSharp.Operator.Api.V1Alpha1;

/// <summary>Types of conditions. Users wait for them by name, so they never change.</summary>
internal static class ConditionTypes
{
    public const string Scheduled = "Scheduled";
    public const string Running = "Running";
    public const string Restarting = "Restarting";
    public const string Suspended = "Suspended";
    public const string Stalled = "Stalled";
    public const string Complete = "Complete";
    public const string Failed = "Failed";
}

/// <summary>Words of <c>status.phase</c>.</summary>
internal static class Phases
{
    public const string Pending = "Pending";
    public const string Suspended = "Suspended";
    public const string Scheduling = "Scheduling";
    public const string Starting = "Starting";
    public const string Running = "Running";
    public const string Restarting = "Restarting";
    public const string Complete = "Complete";
    public const string Failed = "Failed";

    /// <summary>All phases, for metrics that name each of them from the start.</summary>
    public static readonly string[] All =
        [Pending, Suspended, Scheduling, Starting, Running, Restarting, Complete, Failed];
}

/// <summary>Reasons of conditions, failures and events.</summary>
internal static class Reasons
{
    public const string NotStarted = "NotStarted";
    public const string Started = "Started";
    public const string AllPodsScheduled = "AllPodsScheduled";
    public const string PodsNotCreated = "PodsNotCreated";
    public const string Unschedulable = "Unschedulable";
    public const string WaitingForScheduler = "WaitingForScheduler";
    public const string WaitingForOldPods = "WaitingForOldPods";
    public const string WaitingForGang = "WaitingForGang";
    public const string QueuedByKueue = "QueuedByKueue";
    public const string GangSchedulerMissing = "GangSchedulerMissing";
    public const string ConfigNotFound = "ConfigNotFound";
    public const string NameConflict = "NameConflict";
    public const string QuotaExceeded = "QuotaExceeded";
    public const string Forbidden = "ForbiddenByAdmission";
    public const string AllNodesReady = "AllNodesReady";
    public const string NodesStarting = "NodesStarting";
    public const string NodeFailed = "NodeFailed";
    public const string Disruption = "Disruption";
    public const string PodDeleted = "PodDeleted";
    public const string NodeLost = "NodeLost";
    public const string Terminated = "Terminated";
    public const string PeerLost = "PeerLost";
    public const string Hang = "Hang";
    public const string Resize = "Resize";
    public const string Rank0Succeeded = "Rank0Succeeded";
    public const string RestartPolicyNever = "RestartPolicyNever";
    public const string MaxDisruptionsExceeded = "MaxDisruptionsExceeded";
    public const string RuleFailJob = "RuleFailJob";
    public const string DeadlineExceeded = "DeadlineExceeded";
    public const string StartupDeadlineExceeded = "StartupDeadlineExceeded";
    public const string SpecChanged = "SpecChanged";
    public const string PodsEnding = "PodsEnding";
    public const string SuspendedByUser = "SuspendedByUser";
    public const string Resumed = "Resumed";
    public const string Finished = "Finished";
    public const string AllNodesSucceeded = "AllNodesSucceeded";
    public const string MaxRestartsExceeded = "MaxRestartsExceeded";
    public const string WorkerRefused = "WorkerRefused";
    public const string InvalidSpec = "InvalidSpec";
    public const string SpecIsValid = "SpecIsValid";
}

/// <summary>Reading and changing the conditions of a status.</summary>
internal static class JobConditions
{
    public const string True = "True";
    public const string False = "False";

    /// <summary>The condition of a type, if there is one.</summary>
    public static JobCondition? Condition(this DeepSpeedJobStatus status, string type) =>
        status.Conditions?.FirstOrDefault(c => c.Type == type);

    /// <summary>Whether a condition is True.</summary>
    public static bool Is(this DeepSpeedJobStatus status, string type) => status.Condition(type)?.Status == True;

    /// <summary>Whether the job has completed or failed.</summary>
    public static bool IsFinished(this DeepSpeedJobStatus status) =>
        status.Is(ConditionTypes.Complete) || status.Is(ConditionTypes.Failed);

    /// <summary>Whether the job has ended and no edit can open it again.</summary>
    public static bool IsFinishedForGood(this DeepSpeedJobStatus status, long generation) =>
        status.Is(ConditionTypes.Complete) || (status.Condition(ConditionTypes.Failed) is { Status: True } failed
            && (failed.Reason != Reasons.InvalidSpec || status.ObservedGeneration == generation));

    /// <summary>Whether the job is suspended, or its pods are being ended for that.</summary>
    /// <remarks>Durable on purpose: pods that end because of a suspension must not look like lost ones later.</remarks>
    public static bool IsSuspending(this DeepSpeedJobStatus status) =>
        status.Condition(ConditionTypes.Suspended)?.Reason is Reasons.PodsEnding or Reasons.SuspendedByUser;

    /// <summary>Sets a condition; the transition time changes only with the status, as everywhere in Kubernetes.</summary>
    public static DeepSpeedJobStatus With(
        this DeepSpeedJobStatus status, DateTimeOffset now, string type, bool value, string reason, string? message = null)
    {
        string text = value ? True : False;
        JobCondition? before = status.Condition(type);
        var after = new JobCondition
        {
            Type = type,
            Status = text,
            Reason = reason,
            Message = Shorten(message),
            ObservedGeneration = status.ObservedGeneration,
            LastTransitionTime = before?.Status == text ? before.LastTransitionTime : now,
        };
        return after == before ? status : status with
        {
            Conditions = before is null
                ? [.. status.Conditions ?? [], after]
                : [.. status.Conditions!.Select(c => c.Type == type ? after : c)],
        };
    }

    /// <summary>Puts the message of the condition that matters most where a printer column shows it.</summary>
    public static DeepSpeedJobStatus WithMessage(this DeepSpeedJobStatus status)
    {
        string type = status.Phase switch
        {
            Phases.Complete => ConditionTypes.Complete,
            Phases.Failed => ConditionTypes.Failed,
            Phases.Suspended => ConditionTypes.Suspended,
            Phases.Starting => ConditionTypes.Running,
            Phases.Running => ConditionTypes.Stalled,
            Phases.Restarting when status.Condition(ConditionTypes.Scheduled)?.Message is null => ConditionTypes.Restarting,
            _ => ConditionTypes.Scheduled,
        };
        return status with { Message = status.Condition(type)?.Message };
    }

    /// <summary>Cuts a message to what a status should hold.</summary>
    public static string? Shorten(string? message) =>
        message is { Length: > 1000 } ? string.Concat(message.AsSpan(0, 997), "...") : message;
}

using DeepSpeedSharp.Jobs;
using DeepSpeedSharp.Operator.Api.V1Alpha1;

namespace DeepSpeedSharp.Operator.Planning;

/// <summary>A pod to delete.</summary>
/// <param name="Pod">The pod.</param>
/// <param name="Force">Whether not to wait for its machine, which is out of reach.</param>
internal sealed record PodDeletion(PodSnapshot Pod, bool Force);

/// <summary>What one pass should change. Computed without touching the cluster, so tests need none.</summary>
/// <remarks>
/// A worker cannot rejoin a running world, so one failure restarts all of them. A new attempt is first written to the
/// status and only then, in a later pass, carried out: a crash in between repeats harmlessly, counters stay exact, and
/// no pod of an attempt beyond the status' ever exists. A pass that changes the attempt therefore changes nothing else.
/// </remarks>
internal sealed record JobDecision
{
    /// <summary>How long after a first failure the cause is looked for; one dying rank makes all others fail.</summary>
    public static readonly TimeSpan Settle = TimeSpan.FromSeconds(3);

    /// <summary>A pod that has not ended so long after its grace period is on a lost machine.</summary>
    public static readonly TimeSpan NodeLoss = TimeSpan.FromSeconds(60);

    /// <summary>The status to write.</summary>
    public required DeepSpeedJobStatus Status { get; init; }

    /// <summary>Nodes whose pods of <c>Status.Attempt</c> are to be created.</summary>
    public IReadOnlyList<int> CreateNodes { get; init; } = [];

    /// <summary>Pods to delete.</summary>
    public IReadOnlyList<PodDeletion> Delete { get; init; } = [];

    /// <summary>When to look again without an event.</summary>
    public TimeSpan? RequeueAfter { get; init; }

    /// <summary>Compares what is wanted with what exists; the same inputs always give the same answer.</summary>
    public static JobDecision For(JobSnapshot observed)
    {
        // Counts and conditions speak of the spec that is there now, whatever is decided about it.
        JobSnapshot job = observed with { Status = observed.Status with { ObservedGeneration = observed.Generation } };
        bool judgedAnew = observed.Status.Condition(ConditionTypes.Failed) is { Status: JobConditions.True, Reason: Reasons.InvalidSpec }
            && observed.Status.ObservedGeneration != observed.Generation;
        if (observed.Status.IsFinished() && !judgedAnew)
        {
            return CleanUp(job);
        }

        if (job.Status.Conditions is null)
        {
            job = job with { Status = JobStart.Initial(job.Status, job.Now) };
        }

        bool isRunning = job.Status.Attempt > 0 && job.Status.CreatedAttempt == job.Status.Attempt && !judgedAnew
            && !job.Status.IsSuspending() && !job.Status.Is(ConditionTypes.Restarting);
        if (job.Problems.Count > 0 && !isRunning)
        {
            return new JobDecision { Status = JobEnd.InvalidSpec(job) };
        }

        if (judgedAnew)
        {
            job = job with { Status = JobEnd.Reopen(job) };
        }

        if (job.Spec?.IsSuspended() == true)
        {
            return Suspend(job);
        }

        if (job.Status.Attempt == 0 || job.Status.IsSuspending() || judgedAnew || MustStartOver(job))
        {
            return job.ConfigWait is null ? Begin(job) : Wait(job);
        }

        return Advance(job with { Status = JobStart.JudgeEdit(job) });
    }

    private static JobDecision Advance(JobSnapshot job)
    {
        if (Enumerable.Range(0, job.Desired).All(job.Succeeded.Contains))
        {
            return new JobDecision { Status = JobEnd.Complete(job), RequeueAfter = TimeSpan.Zero };
        }

        IReadOnlyList<NodeFailure> failures = NodeFailure.Find(job);
        if (failures.Count > 0)
        {
            return OnFailure(job, failures);
        }

        PodDeletion[] old = [.. job.OlderPods.Select(p => Deletion(p, job.Now)).OfType<PodDeletion>()];

        // The last checkpoint is still being written by pods that end; a new world must not read half of it.
        PodSnapshot[] ending = [.. job.OlderPods.Where(p => !p.IsFinished && !IsLost(p, job.Now))];
        int[] missing = [.. Enumerable.Range(0, job.Desired).Except(job.CurrentPods.Select(p => p.Index))
            .Except(job.Succeeded)];
        TimeSpan backoff = job.Status.NextStartTime - job.Now ?? TimeSpan.Zero;
        if (job.ConfigWait is not null && missing.Length > 0)
        {
            return Wait(job) with { Delete = old };
        }

        return new JobDecision
        {
            Status = JobObservation.Of(job, ending, backoff),
            Delete = old,
            CreateNodes = ending.Length == 0 && backoff <= TimeSpan.Zero ? missing : [],
            RequeueAfter = Soonest(
                backoff > TimeSpan.Zero ? backoff : null,
                ending.Length > 0 ? TimeSpan.FromSeconds(10) : null),
        };
    }

    private static JobDecision OnFailure(JobSnapshot job, IReadOnlyList<NodeFailure> failures)
    {
        bool allEnded = job.CurrentPods.All(p => p.IsFinished);
        TimeSpan settled = job.Now - (job.FailureSeenAt ?? job.Now);
        if (settled < Settle && !allEnded)
        {
            return new JobDecision { Status = JobObservation.Of(job, [], TimeSpan.Zero), RequeueAfter = Settle - settled };
        }

        return new JobDecision { Status = JobRestart.After(job, failures), RequeueAfter = TimeSpan.Zero };
    }

    private static JobDecision Begin(JobSnapshot job) =>
        new() { Status = JobStart.Attempt(job), RequeueAfter = TimeSpan.Zero };

    private static JobDecision Wait(JobSnapshot job) => new()
    {
        Status = job.Status.With(job.Now, ConditionTypes.Scheduled, false, Reasons.ConfigNotFound, job.ConfigWait),
        RequeueAfter = TimeSpan.FromSeconds(15),
    };

    private static JobDecision Suspend(JobSnapshot job)
    {
        PodSnapshot[] active = [.. job.Pods.Where(p => !p.IsFinished && !IsLost(p, job.Now))];
        return new JobDecision
        {
            Status = JobEnd.Suspended(job, active.Length),
            // First it is on record that the pods end because of this, then they are deleted.
            Delete = job.Status.IsSuspending() ? [.. job.Pods.Where(p => !p.IsFinished).Select(p => Deletion(p, job.Now)).OfType<PodDeletion>()] : [],
            RequeueAfter = job.Status.IsSuspending() ? active.Length > 0 ? TimeSpan.FromSeconds(10) : null : TimeSpan.Zero,
        };
    }

    private static JobDecision CleanUp(JobSnapshot job)
    {
        PodSnapshot[] active = [.. job.Pods.Where(p => !p.IsFinished)];
        return new JobDecision
        {
            Status = JobObservation.Count(job),
            Delete = [.. active.Select(p => Deletion(p, job.Now)).OfType<PodDeletion>()],
            RequeueAfter = active.Length > 0 ? TimeSpan.FromSeconds(10) : null,
        };
    }

    // The spec was edited before the attempt ever ran, for example because it found no place: nothing is lost by
    // starting over, and pods of two specs must not meet.
    private static bool MustStartOver(JobSnapshot job) =>
        job.Problems.Count == 0 && job.Spec is { } spec && job.Status.SpecHash is { } hash && hash != SpecHash.Of(spec)
        && !job.Status.HasRun();

    private static PodDeletion? Deletion(PodSnapshot pod, DateTimeOffset now) =>
        pod.DeletedAt is null ? new PodDeletion(pod, Force: false) : IsLost(pod, now) ? new PodDeletion(pod, Force: true) : null;

    private static bool IsLost(PodSnapshot pod, DateTimeOffset now) => pod.DeletionDeadline + NodeLoss < now;

    private static TimeSpan? Soonest(params TimeSpan?[] times) => times.Min();
}

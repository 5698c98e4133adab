using DeepSpeedSharp.Jobs;
using DeepSpeedSharp.Operator.Api.V1Alpha1;

namespace DeepSpeedSharp.Operator.Planning;

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

    /// <summary>How long after the others lost a silent rank its machine is waited for: ranks notice within 15 s, a cluster after
    /// 40 to 50 s, and the loss of a machine is no failure of the program. Its pod would be waited for anyway.</summary>
    public static readonly TimeSpan SettleOfSilence = TimeSpan.FromSeconds(60);

    // Pods that end are seen as events; this is for those that never do.
    private static readonly TimeSpan LookAtEndingPods = TimeSpan.FromSeconds(10);

    // By how much the clocks of two replicas may differ.
    private static readonly TimeSpan ClockSkew = TimeSpan.FromMinutes(1);

    // So that a job of thousands of pods tells how far it is, and its pass stays shorter than its limit.
    private const int MostCreatedAtOnce = 500;

    /// <summary>The status to write.</summary>
    public required DeepSpeedJobStatus Status { get; init; }

    /// <summary>Nodes whose pods of <c>Status.Attempt</c> are to be created.</summary>
    public IReadOnlyList<int> CreateNodes { get; init; } = [];

    /// <summary>Whether these are not all that are missing: the next pass goes on.</summary>
    public bool CreatesMore { get; init; }

    /// <summary>Pods to delete.</summary>
    public IReadOnlyList<PodDeletion> Delete { get; init; } = [];

    /// <summary>Whether the Service of pods that exist is gone and to be made again; that of new pods is made with them.</summary>
    public bool RestoreService { get; init; }

    /// <summary>Whether it is on record that the job does not run any more, so that what protects its running pods goes. Not before:
    /// that write may fail, and then the job goes on.</summary>
    public bool RemoveBudget { get; init; }

    /// <summary>Whether the PodGroups of the job go, so that they hold no place for it.</summary>
    public bool RemoveGroups { get; init; }

    /// <summary>Whether the PodGroup of the current attempt is to be there although no pod is created yet.</summary>
    public bool CreateGroup { get; init; }

    /// <summary>Pods that are to say to Kueue that their group gets no more pods.</summary>
    public IReadOnlyList<PodSnapshot> CloseGroups { get; init; } = [];

    /// <summary>Kueue's groups whose Workload is deleted.</summary>
    public IReadOnlyList<string> DropWorkloads { get; init; } = [];

    /// <summary>Whether the job itself is deleted, because its time after the end is over.</summary>
    public bool DeleteJob { get; init; }

    /// <summary>When to look again without an event.</summary>
    public TimeSpan? RequeueAfter { get; init; }

    /// <summary>Compares what is wanted with what exists; the same inputs always give the same answer.</summary>
    public static JobDecision For(JobSnapshot observed)
    {
        JobDecision decision = Decide(observed);
        return GangPlan.EndsGroups(observed.Status, decision) ? decision with { RemoveGroups = true } : decision;
    }

    private static JobDecision Decide(JobSnapshot observed)
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
            return End(JobEnd.InvalidSpec(job));
        }

        if (judgedAnew)
        {
            job = job with { Status = JobEnd.Reopen(job) };
        }

        if (job.Spec?.IsSuspended() == true)
        {
            return Suspend(job, isKnown: job.Status.IsSuspending() && !judgedAnew);
        }

        if (job.Status.Attempt == 0 || job.Status.IsSuspending() || judgedAnew || MustStartOver(job))
        {
            return job.ConfigWait is null ? Begin(job) : Wait(job);
        }

        job = job with { Status = JobStart.JudgeEdit(job) };
        return Advance(job with { Status = JobStart.WithConfig(job) });
    }

    private static JobDecision Advance(JobSnapshot job)
    {
        if (IsComplete(job))
        {
            return End(JobEnd.Complete(job));
        }

        IReadOnlyList<NodeFailure> failures = NodeFailure.Find(job);
        if (failures.Count > 0)
        {
            return OnFailure(job, failures);
        }

        if (JobDeadlines.Exceeded(job) is { } exceeded)
        {
            return End(exceeded);
        }

        if (JobDeadlines.Hang(job) is { } hang)
        {
            return Restart(JobRestart.After(job, [hang]));
        }

        if (JobSize.Next(job) is { } resize && job.ConfigWait is null)
        {
            return Restart(JobRestart.Resized(job, resize));
        }

        return CreateMissing(job);
    }

    private static JobDecision CreateMissing(JobSnapshot job)
    {
        PodDeletion[] old = PodCleaning.DeleteOld(job);

        // The last checkpoint is still being written by pods that end; a new world should not read the one before.
        PodSnapshot[] ending = [.. job.OlderPods.Where(p => GangPlan.IsEnding(job, p))];
        int[] missing = [.. Enumerable.Range(0, job.Desired).Except(job.CurrentPods.Select(p => p.Index))
            .Except(job.Succeeded)];
        TimeSpan backoff = Backoff(job);
        if (job.ConfigWait is not null && missing.Length > 0)
        {
            return Wait(job) with { Delete = old };
        }

        bool blocks = ending.Length > 0 && job.Spec?.WaitsForOldPods() != false;
        job = job with { Status = GangPlan.Admit(job) };
        bool mayCreate = !blocks && backoff <= TimeSpan.Zero && missing.Length > 0;
        bool isHeld = mayCreate && GangPlan.Holds(job);

        // Times count from what is seen now: a job that begins to run begins to have a deadline.
        job = job with { Status = JobObservation.Of(job, blocks ? ending : [], backoff) };
        int[] create = mayCreate && !isHeld ? [.. missing.Take(MostCreatedAtOnce)] : [];
        bool more = create.Length > 0 && create.Length < missing.Length;
        return new JobDecision
        {
            Status = job.Status,
            Delete = old,
            CreateNodes = create,
            CreatesMore = more,
            CreateGroup = isHeld && job.Group is null,
            CloseGroups = GangPlan.Close(job.Pods, job.Status.Gang?.Group),
            DropWorkloads = GangPlan.Drop(job.Pods, job.Status.Gang?.Group),
            RestoreService = missing.Length == 0 && !job.HasService && job.Problems.Count == 0,
            RequeueAfter = more ? TimeSpan.Zero : Soonest(
                backoff > TimeSpan.Zero ? backoff : null,
                ending.Length > 0 ? LookAtEndingPods : null,
                JobDeadlines.Next(job), JobSize.NextLook(job), NextLoss(job), NextProgress(job)),
        };
    }

    private static JobDecision OnFailure(JobSnapshot job, IReadOnlyList<NodeFailure> failures)
    {
        bool allEnded = job.CurrentPods.All(p => p.IsFinished);
        TimeSpan settled = job.Now - (job.FailureSeenAt ?? job.Now);
        TimeSpan settle = failures[0] is { Witness: not null, Kind: FailureKind.Counted } ? SettleOfSilence : Settle;
        return settled < settle && !allEnded
            ? new JobDecision { Status = JobObservation.Of(job, [], TimeSpan.Zero), RequeueAfter = settle - settled }
            : Restart(JobRestart.After(job, failures));
    }

    private static bool IsComplete(JobSnapshot job) =>
        Enumerable.Range(0, job.Desired).All(job.Succeeded.Contains) || (job.Spec?.Rank0Decides() == true && job.Succeeded.Contains(0));

    private static JobDecision Begin(JobSnapshot job) =>
        new() { Status = JobStart.Attempt(job), RequeueAfter = TimeSpan.Zero };

    private static JobDecision Restart(DeepSpeedJobStatus status) =>
        new() { Status = status, RequeueAfter = TimeSpan.Zero };

    private static JobDecision End(DeepSpeedJobStatus status) =>
        new() { Status = status, RequeueAfter = TimeSpan.Zero };

    private static JobDecision Wait(JobSnapshot job) => new()
    {
        Status = job.Status.With(job.Now, ConditionTypes.Scheduled, false, Reasons.ConfigNotFound, job.ConfigWait),
        RequeueAfter = TimeSpan.FromSeconds(15),
    };

    private static JobDecision Suspend(JobSnapshot job, bool isKnown)
    {
        PodSnapshot[] active = [.. job.Pods.Where(p => !p.IsFinished && !job.IsLost(p))];
        return new JobDecision
        {
            Status = JobEnd.Suspended(job, active.Length),
            // First it is on record that the pods end because of this, then they are deleted.
            Delete = isKnown ? PodCleaning.Delete(job, job.Pods.Where(p => !p.IsTerminal)) : [],
            CloseGroups = isKnown ? GangPlan.Close(job.Pods, inUse: null) : [],
            DropWorkloads = isKnown ? GangPlan.Drop(job.Pods, inUse: null) : [],
            RemoveBudget = isKnown,
            RequeueAfter = !isKnown ? TimeSpan.Zero : active.Length > 0 ? LookAtEndingPods : null,
        };
    }

    private static JobDecision CleanUp(JobSnapshot job)
    {
        PodDeletion[] delete = PodCleaning.DeleteFinal(job);
        TimeSpan? left = job.Spec?.TtlSecondsAfterFinished is { } seconds
            ? (job.Status.CompletionTime ?? job.Now) + TimeSpan.FromSeconds(seconds) - job.Now : null;
        return new JobDecision
        {
            Status = JobObservation.Count(job),
            Delete = delete,
            CloseGroups = GangPlan.Close(job.Pods, inUse: null),
            DropWorkloads = GangPlan.Drop(job.Pods, inUse: null),
            DeleteJob = left <= TimeSpan.Zero,
            RemoveBudget = true,
            RequeueAfter = Soonest(left > TimeSpan.Zero ? left : null,
                job.Spec?.CleanPodPolicy != "None" && job.Pods.Any(p => !p.IsTerminal) ? LookAtEndingPods : null),
        };
    }

    // The spec was edited before the attempt ever ran, for example because it found no place: nothing is lost by
    // starting over, and pods of two specs must not meet.
    private static bool MustStartOver(JobSnapshot job) =>
        job.Problems.Count == 0 && job.Spec is { } spec && job.Status.SpecHash is { } hash && hash != (job.SpecHash ?? SpecHash.Of(spec))
        && !job.Status.HasRun();

    // When the machine of a pod will have been silent for long enough.
    private static TimeSpan? NextLoss(JobSnapshot job) => job.Pods
        .Where(p => !p.IsFinished && p.ClusterNode is { } machine && job.NotReady.ContainsKey(machine))
        .Select(p => (TimeSpan?)(job.Spec.NodeLoss() - job.NotReady[p.ClusterNode!].Length))
        .Where(t => t > TimeSpan.Zero).Min();

    // Time until the next start. No pause is longer than the longest: the clock was set back since this one was written.
    private static TimeSpan Backoff(JobSnapshot job) => job.Status.NextStartTime - job.Now is { } wait
        && wait <= (job.Spec?.BackoffMax() ?? TimeSpan.Zero) + ClockSkew ? wait : TimeSpan.Zero;

    // Steps that were not worth a write yet are written later.
    private static TimeSpan? NextProgress(JobSnapshot job) =>
        job.Progress is { } report && job.Status.Progress is { UpdatedTime: { } written } progress && report.Step != progress.Step
            ? written + Progress.ProgressReport.BetweenWrites - job.Now is { } wait && wait > TimeSpan.Zero ? wait : null : null;

    private static TimeSpan? Soonest(params TimeSpan?[] times) => times.Min();
}

using System.Collections.Concurrent;
using System.Runtime.CompilerServices;
using DeepSpeedSharp.Config;
using DeepSpeedSharp.Jobs;
using DeepSpeedSharp.Operator.Api.V1Alpha1;
using DeepSpeedSharp.Operator.Planning;
using DeepSpeedSharp.Operator.Progress;
using DeepSpeedSharp.Operator.Runtime;

namespace DeepSpeedSharp.Operator;

/// <summary>One pass: observe, decide, change objects, write the status once.</summary>
internal sealed class DeepSpeedJobController(
    JobCaches caches, JobObjects objects, GangObjects gangs, StatusWriter statuses, JobWatch watch, OperatorOptions options)
    : IEntityController<DeepSpeedJob>
{
    private readonly ConcurrentDictionary<string, FirstFailure> _failures = new();
    private readonly ConcurrentDictionary<string, Released> _released = new();
    private readonly ConditionalWeakTable<DeepSpeedJobSpec, SpecFacts> _facts = new();

    // The time of day may have been wrong when a wait was computed from it, and be right again by now.
    private static readonly TimeSpan LongestWait = TimeSpan.FromMinutes(1);

    /// <inheritdoc/>
    public async Task<ReconcileResult> ReconcileAsync(DeepSpeedJob entity, CancellationToken cancel)
    {
        // Another controller looks after it, and nothing of it is touched, not even its status.
        if (entity.Spec?.IsOurs() == false)
        {
            return ReconcileResult.Done;
        }

        // The garbage collector removes what a deleted job owns, but Kueue keeps pods until it is told that none follow.
        if (entity.Metadata.DeletionTimestamp is not null)
        {
            await ReleaseAsync(caches.Pods.Group(entity.Metadata.Uid), cancel);
            return ReconcileResult.Done;
        }

        if (!entity.StatusIsReadable)
        {
            Log.UnreadableStatus(watch.Log, entity.Key);
            return ReconcileResult.Done;
        }

        if (await statuses.CurrentAsync(entity, cancel) is not { } current)
        {
            return ReconcileResult.Done;
        }

        entity = current;
        JobSnapshot observed = await ObserveAsync(entity, cancel);
        if (observed.MissesPods)
        {
            await objects.FindPodsAsync(entity, cancel);
            observed = observed with { Pods = caches.Pods.Group(entity.Metadata.Uid) };
        }

        long begin = watch.Time.GetTimestamp();
        observed = observed with { FailureSeenAt = FailureSeen(entity, observed) };
        JobDecision decision = JobDecision.For(observed);
        watch.Metrics.Decided(watch.Time.GetElapsedTime(begin));
        DeepSpeedJobStatus status = decision.Status;
        ObjectRefusedException? refused = null;
        try
        {
            if (decision.DeleteJob)
            {
                return await objects.DeleteJobAsync(entity, cancel) ? ReconcileResult.Done : ReconcileResult.RequeueAfter(TimeSpan.FromSeconds(1));
            }

            // Kueue is told before the pods go, as only a pod can tell it.
            await gangs.CloseAsync(decision.CloseGroups, cancel);
            await objects.DeleteAsync(entity, decision.Delete, cancel);
            await gangs.DropWorkloadsAsync(entity.Metadata.NamespaceProperty, decision.DropWorkloads, cancel);
            await LetGoAsync(entity, decision, cancel);
            if (decision.RestoreService)
            {
                await objects.EnsureServiceAsync(entity, status, cancel);
            }

            if (decision.CreateNodes.Count > 0 || decision.CreateGroup)
            {
                await gangs.EnsureAsync(entity, status, cancel);
            }

            if (decision.CreateNodes.Count > 0)
            {
                await objects.CreateAsync(entity, status, decision.CreateNodes, observed.Config, cancel);

                // The next pass sees these pods and writes what follows from them, once.
                if (!decision.CreatesMore)
                {
                    return ReconcileResult.RequeueAfter(TimeSpan.Zero);
                }
            }
        }
        catch (ObjectRefusedException e)
        {
            refused = e;
            status = Refused(observed, status, e);
        }

        status = status.WithMessage();
        if (refused is null && statuses.Pause(entity, status) is { } pause)
        {
            return ReconcileResult.RequeueAfter(decision.RequeueAfter < pause ? decision.RequeueAfter.Value : pause);
        }

        if (!await statuses.WriteAsync(entity, status, cancel))
        {
            return ReconcileResult.Done;
        }

        if (refused is { IsFinal: false })
        {
            if (refused.Reason == Reasons.NameConflict)
            {
                await ReleaseAsync(Orphans(entity.Key, entity.Metadata.Uid), cancel);
            }

            return ReconcileResult.RequeueAfter(TimeSpan.FromSeconds(refused.Reason switch
            {
                Reasons.NameConflict => 3,
                Reasons.GangSchedulerMissing => 15, // the API server is asked once for all jobs
                _ => 30,
            }));
        }

        return decision.RequeueAfter is { } after
            ? ReconcileResult.RequeueAfter(after < LongestWait ? after : LongestWait) : ReconcileResult.Done;
    }

    /// <inheritdoc/>
    public async Task DeletedAsync(string key, CancellationToken cancel)
    {
        _failures.TryRemove(key, out _);
        statuses.Forget(key);
        _released.TryRemove(key, out _);
        caches.Progress.Forget(key);
        await ReleaseAsync(Orphans(key, uid: null), cancel);
    }

    // Pods of an earlier job of the same name that Kueue still keeps.
    private IReadOnlyList<PodSnapshot> Orphans(string key, string? uid) =>
        caches.Pods.Where(p => p.Group is not null && p.OwnerKey == key && p.OwnerUid != uid);

    private async Task ReleaseAsync(IReadOnlyList<PodSnapshot> pods, CancellationToken cancel)
    {
        await gangs.CloseAsync(GangPlan.Close(pods, inUse: null), cancel);
        await gangs.DropWorkloadsAsync(pods.Count == 0 ? "" : pods[0].Namespace, GangPlan.Drop(pods, inUse: null), cancel);
    }

    // What a job needed only while it ran is looked for once after its end, not in each pass.
    private async Task LetGoAsync(DeepSpeedJob job, JobDecision decision, CancellationToken cancel)
    {
        var now = Released.Of(job);
        if (decision.RemoveBudget && _released.GetValueOrDefault(job.Key) == now)
        {
            return;
        }

        if (decision.RemoveGroups)
        {
            await gangs.RemoveAsync(job, cancel);
        }

        if (decision.RemoveBudget)
        {
            if (job.Spec?.Scheduling?.PodDisruptionBudget == true)
            {
                await objects.DeleteBudgetAsync(job, cancel);
            }

            _released[job.Key] = now;
        }
    }

    private async Task<JobSnapshot> ObserveAsync(DeepSpeedJob job, CancellationToken cancel)
    {
        DateTimeOffset now = watch.Time.GetUtcNow();
        SpecFacts? facts = job.Spec is { } spec ? _facts.GetValue(spec, s => SpecFacts.Of(job.Metadata.Name, s, options.AllowHostAccess)) : null;
        IReadOnlyList<ConfigError> problems = facts?.Problems ?? job.Problems;
        if (job.Spec is not null && GangPlan.QueueProblem(job.Spec, job.Status) is { } queue)
        {
            problems = [.. problems, queue];
        }

        (string? config, string? wait) = (null, null);
        if (problems.Count == 0 && NeedsConfig(job))
        {
            config = JobObjects.TextOf(job.Spec!.Config);
            if (job.Spec.ConfigRef is { } reference)
            {
                (config, wait) = await objects.ReadConfigAsync(job.Metadata.NamespaceProperty, reference, cancel);
                problems = config is null ? [] : CheckReferenced(reference, config, job.Spec);
            }
        }

        BoardEntry? known = caches.Progress.Latest(job.Key, job.Metadata.Uid, job.Status.Attempt);
        return new JobSnapshot
        {
            Name = job.Metadata.Name,
            Uid = job.Metadata.Uid,
            Generation = job.Metadata.Generation ?? 0,
            Spec = job.Spec,
            SpecHash = facts?.Hash,
            Problems = problems,
            ConfigWait = wait,
            Status = job.Status,
            Pods = [.. caches.Pods.Group(job.Metadata.Uid).Select(p => p.Here(watch.Time))],
            HasService = caches.Services.Group(job.Metadata.Uid).Count > 0,
            Group = GroupOf(job),
            Config = config,
            Progress = known?.Report,
            MovedAt = known?.MovedAt,
            NodeSteps = known?.NodeSteps ?? new Dictionary<int, long?>(),
            NotReady = caches.NotReady(watch.Time),
            Now = new DateTimeOffset(now.UtcTicks - now.UtcTicks % TimeSpan.TicksPerSecond, TimeSpan.Zero),
        };
    }

    private GroupSnapshot? GroupOf(DeepSpeedJob job) => job.Status.Gang is { Group: { Length: > 0 } name }
        && caches.Groups.Get($"{job.Metadata.NamespaceProperty}/{name}") is { } group && group.OwnerUid == job.Metadata.Uid ? group : null;

    // The config matters only until the pods of an attempt exist; later edits of the ConfigMap do not touch them. An
    // elastic job may need another attempt at any time, whose size the config decides.
    private static bool NeedsConfig(DeepSpeedJob job) => job.Spec is { } spec && !spec.IsSuspended()
        && !job.Status.IsFinishedForGood(job.Metadata.Generation ?? 0)
        && (spec.Elastic is not null || job.Status.CreatedAttempt < Math.Max(1, job.Status.Attempt));

    private static IReadOnlyList<ConfigError> CheckReferenced(ConfigReference reference, string config, DeepSpeedJobSpec spec)
    {
        var errors = new ConfigErrors();
        JobValidation.CheckConfig(config, $"ConfigMap {reference.Name}", spec, errors);
        return errors.All;
    }

    // Kept in memory only: after a restart of the operator the cause is looked for once more. A time that lies ahead was seen
    // before the clock was set back.
    private DateTimeOffset? FailureSeen(DeepSpeedJob job, JobSnapshot snapshot)
    {
        if (snapshot.Status.IsFinished() || NodeFailure.Find(snapshot).Count == 0)
        {
            _failures.TryRemove(job.Key, out _);
            return null;
        }

        var seen = new FirstFailure(job.Metadata.Uid, snapshot.Status.Attempt, snapshot.Now);
        return _failures.AddOrUpdate(job.Key, seen,
            (_, old) => old.Uid == seen.Uid && old.Attempt == seen.Attempt && old.Time <= seen.Time ? old : seen).Time;
    }

    private static DeepSpeedJobStatus Refused(JobSnapshot observed, DeepSpeedJobStatus status, ObjectRefusedException e) =>
        e.IsFinal
            ? JobEnd.Failed(status, observed.Now, e.Reason, $"The cluster refuses the job's objects: {e.Message}")
            : status.With(observed.Now, ConditionTypes.Scheduled, false, e.Reason, e.Message);

    private sealed record FirstFailure(string Uid, int Attempt, DateTimeOffset Time);

    private sealed record Released(string Uid, int Attempt)
    {
        public static Released Of(DeepSpeedJob job) => new(job.Metadata.Uid, job.Status.Attempt);
    }
}

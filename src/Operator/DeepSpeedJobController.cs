using System.Collections.Concurrent;
using System.Net;
using System.Runtime.CompilerServices;
using System.Text.Json;
using System.Text.Json.Nodes;
using DeepSpeedSharp.Config;
using DeepSpeedSharp.Jobs;
using DeepSpeedSharp.Operator.Api.V1Alpha1;
using DeepSpeedSharp.Operator.Planning;
using DeepSpeedSharp.Operator.Progress;
using DeepSpeedSharp.Operator.Runtime;
using k8s.Models;

namespace DeepSpeedSharp.Operator;

/// <summary>One pass: observe, decide, change objects, write the status once, then tell about it.</summary>
internal sealed class DeepSpeedJobController(
    JobCaches caches, ApiConnection api, JobObjects objects, GangObjects gangs, EventPublisher events, JobWatch watch, OperatorOptions options)
    : IEntityController<DeepSpeedJob>
{
    private readonly ConcurrentDictionary<string, FirstFailure> _failures = new();
    private readonly ConcurrentDictionary<string, LastWrite> _writes = new();

    // What a job needed only while it ran is looked for once after its end, not in each pass.
    private readonly ConcurrentDictionary<string, Released> _released = new();

    // Jobs of which a write failed. It may have been carried out for all that, and then what is known here is not true any more.
    private readonly ConcurrentDictionary<string, bool> _unsure = new();
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

        if (_unsure.ContainsKey(entity.Key))
        {
            if (await ReadAgainAsync(entity, cancel) is not { } known)
            {
                return ReconcileResult.Done;
            }

            entity = known;
        }

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
            bool isReleased = decision.RemoveBudget && _released.TryGetValue(entity.Key, out Released? done) && done == Released.Of(entity);
            if (decision.RemoveGroups && !isReleased)
            {
                await gangs.RemoveAsync(entity, cancel);
            }

            if (decision.RemoveBudget && !isReleased)
            {
                if (entity.Spec?.Scheduling?.PodDisruptionBudget == true)
                {
                    await objects.DeleteBudgetAsync(entity, cancel);
                }

                _released[entity.Key] = Released.Of(entity);
            }

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
        if (refused is null && WaitBeforeWrite(entity, status) is { } pause)
        {
            return ReconcileResult.RequeueAfter(decision.RequeueAfter < pause ? decision.RequeueAfter.Value : pause);
        }

        if (!await WriteAsync(entity, status, cancel))
        {
            return ReconcileResult.Done;
        }

        if (refused is { IsFinal: false })
        {
            if (refused.Reason == Reasons.NameConflict)
            {
                await ReleaseAsync(Orphans(entity.Key, entity.Metadata.Uid), cancel);
            }

            return ReconcileResult.RequeueAfter(TimeSpan.FromSeconds(refused.Reason == Reasons.NameConflict ? 3 : 30));
        }

        return decision.RequeueAfter is { } after
            ? ReconcileResult.RequeueAfter(after < LongestWait ? after : LongestWait) : ReconcileResult.Done;
    }

    /// <inheritdoc/>
    public async Task DeletedAsync(string key, CancellationToken cancel)
    {
        _failures.TryRemove(key, out _);
        _writes.TryRemove(key, out _);
        _unsure.TryRemove(key, out _);
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

    // Null when it is gone, or another one of its name is there: then there is an event to come. One that is being deleted or
    // managed by somebody else meanwhile is left to that event as well.
    private async Task<DeepSpeedJob?> ReadAgainAsync(DeepSpeedJob job, CancellationToken cancel)
    {
        DeepSpeedJob read;
        try
        {
            read = caches.ReadJob(await api.GetAsync(PathOf(job), cancel));
        }
        catch (ApiException e) when (e.Code == HttpStatusCode.NotFound)
        {
            return null;
        }

        caches.Jobs.Put(read.Key, read.Metadata.ResourceVersion, read);
        _unsure.TryRemove(job.Key, out _);
        bool isSame = read.Metadata.Uid == job.Metadata.Uid && read.Metadata.DeletionTimestamp is null
            && read.Spec?.IsOurs() != false && read.StatusIsReadable;
        return isSame ? read : null;
    }

    private static string PathOf(DeepSpeedJob job) =>
        $"/apis/{DeepSpeedJob.GroupVersion}/namespaces/{job.Metadata.NamespaceProperty}/{DeepSpeedJob.Plural}/{job.Metadata.Name}";

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
            Pods = caches.Pods.Group(job.Metadata.Uid),
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

    // How long a write may still wait, because the last one was a moment ago and it says little new; null when it may not.
    private TimeSpan? WaitBeforeWrite(DeepSpeedJob job, DeepSpeedJobStatus status)
    {
        if (!_writes.TryGetValue(job.Key, out LastWrite? last) || last.Uid != job.Metadata.Uid || !StatusPace.MayWait(job.Status, status))
        {
            return null;
        }

        TimeSpan left = StatusPace.Between(job.Status, status) - watch.Time.GetElapsedTime(last.At);
        return left > TimeSpan.Zero ? left : null;
    }

    // Every write carries the version it was decided on: with two operators by mistake, one of them loses.
    // False when the job is gone.
    private async Task<bool> WriteAsync(DeepSpeedJob job, DeepSpeedJobStatus status, CancellationToken cancel)
    {
        if (status == job.Status)
        {
            return true;
        }

        // Against nothing at first, so that zeros are written too: a printer column shows 0, not a blank.
        JsonObject before = job.Status.Conditions is null ? [] : StatusJson.ToJson(job.Status);
        if (MergePatch.Between(before, StatusJson.ToJson(status)) is not { } changes)
        {
            return true;
        }

        var patch = new JsonObject
        {
            ["metadata"] = new JsonObject { ["resourceVersion"] = job.Metadata.ResourceVersion },
            ["status"] = changes,
        };
        JsonElement answer;
        _unsure[job.Key] = true;
        try
        {
            answer = await api.MergePatchAsync($"{PathOf(job)}/status?fieldManager={JobLabels.ManagedBy}", patch.ToJsonString(), cancel);
        }
        catch (ApiException e) when (e.Code == HttpStatusCode.NotFound)
        {
            // Deleted in the meantime; the watch is about to say so.
            return false;
        }

        _unsure.TryRemove(job.Key, out _);
        _writes[job.Key] = new LastWrite(job.Metadata.Uid, watch.Time.GetTimestamp());
        DeepSpeedJob written = caches.ReadJob(answer);
        caches.Jobs.Put(written.Key, written.Metadata.ResourceVersion, written);
        watch.Metrics.StatusWritten(job, status, watch.Time.GetUtcNow());
        Tell(job, status);
        return true;
    }

    private void Tell(DeepSpeedJob job, DeepSpeedJobStatus status)
    {
        var about = new V1ObjectReference
        {
            ApiVersion = DeepSpeedJob.GroupVersion,
            Kind = DeepSpeedJobManifest.Kind,
            Name = job.Metadata.Name,
            NamespaceProperty = job.Metadata.NamespaceProperty,
            Uid = job.Metadata.Uid,
        };
        foreach (JobEvent e in JobEvents.Between(job.Status, status))
        {
            Log.JobEvent(watch.Log, job.Key, status.Phase, status.Attempt, e.Reason, e.Message);
            events.Publish(new PublishedEvent(about, e.IsWarning, e.Reason, e.Message));
        }
    }

    private sealed record FirstFailure(string Uid, int Attempt, DateTimeOffset Time);

    private sealed record Released(string Uid, int Attempt)
    {
        public static Released Of(DeepSpeedJob job) => new(job.Metadata.Uid, job.Status.Attempt);
    }

    private sealed record LastWrite(string Uid, long At);
}

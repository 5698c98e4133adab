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
    JobCaches caches, ApiConnection api, JobObjects objects, EventPublisher events, JobWatch watch, bool allowHostAccess = false)
    : IEntityController<DeepSpeedJob>
{
    private readonly ConcurrentDictionary<string, FirstFailure> _failures = new();
    private readonly ConcurrentDictionary<string, LastWrite> _writes = new();
    private readonly ConditionalWeakTable<DeepSpeedJobSpec, SpecFacts> _facts = new();

    /// <inheritdoc/>
    public async Task<ReconcileResult> ReconcileAsync(DeepSpeedJob entity, CancellationToken cancel)
    {
        // The garbage collector removes what a deleted job owns.
        if (entity.Metadata.DeletionTimestamp is not null)
        {
            return ReconcileResult.Done;
        }

        // Another controller looks after it, and nothing of it is touched, not even its status.
        if (entity.Spec?.IsOurs() == false)
        {
            return ReconcileResult.Done;
        }

        if (!entity.StatusIsReadable)
        {
            Log.UnreadableStatus(watch.Log, entity.Key);
            return ReconcileResult.Done;
        }

        JobSnapshot observed = await ObserveAsync(entity, cancel);
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
                await objects.DeleteJobAsync(entity, cancel);
                return ReconcileResult.Done;
            }

            await objects.DeleteAsync(entity, decision.Delete, cancel);
            if (decision.RemoveBudget && entity.Spec?.Scheduling?.PodDisruptionBudget == true)
            {
                await objects.DeleteBudgetAsync(entity, cancel);
            }

            if (decision.RestoreService)
            {
                await objects.EnsureServiceAsync(entity, status, cancel);
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
            return ReconcileResult.RequeueAfter(TimeSpan.FromSeconds(refused.Reason == Reasons.NameConflict ? 3 : 30));
        }

        return decision.RequeueAfter is { } after ? ReconcileResult.RequeueAfter(after) : ReconcileResult.Done;
    }

    /// <inheritdoc/>
    public void Deleted(string key)
    {
        _failures.TryRemove(key, out _);
        _writes.TryRemove(key, out _);
        caches.Progress.Forget(key);
    }

    private async Task<JobSnapshot> ObserveAsync(DeepSpeedJob job, CancellationToken cancel)
    {
        DateTimeOffset now = watch.Time.GetUtcNow();
        SpecFacts? facts = job.Spec is { } spec ? _facts.GetValue(spec, s => SpecFacts.Of(job.Metadata.Name, s, allowHostAccess)) : null;
        IReadOnlyList<ConfigError> problems = facts?.Problems ?? job.Problems;
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
            Generation = job.Metadata.Generation ?? 0,
            Spec = job.Spec,
            SpecHash = facts?.Hash,
            Problems = problems,
            ConfigWait = wait,
            Status = job.Status,
            Pods = caches.Pods.Group(job.Metadata.Uid),
            HasService = caches.Services.Group(job.Metadata.Uid).Count > 0,
            Config = config,
            Progress = known?.Report,
            MovedAt = known?.MovedAt,
            NodeSteps = known?.NodeSteps ?? new Dictionary<int, long?>(),
            NotReady = caches.NotReady(),
            Now = new DateTimeOffset(now.UtcTicks - now.UtcTicks % TimeSpan.TicksPerSecond, TimeSpan.Zero),
        };
    }

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

    // Kept in memory only: after a restart of the operator the cause is looked for once more.
    private DateTimeOffset? FailureSeen(DeepSpeedJob job, JobSnapshot snapshot)
    {
        if (snapshot.Status.IsFinished() || NodeFailure.Find(snapshot).Count == 0)
        {
            _failures.TryRemove(job.Key, out _);
            return null;
        }

        var seen = new FirstFailure(job.Metadata.Uid, snapshot.Status.Attempt, snapshot.Now);
        return _failures.AddOrUpdate(job.Key, seen,
            (_, old) => old.Uid == seen.Uid && old.Attempt == seen.Attempt ? old : seen).Time;
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

        TimeSpan left = StatusPace.Between(status.LastStartTime, watch.Time.GetUtcNow()) - watch.Time.GetElapsedTime(last.At);
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
        string path = $"/apis/{DeepSpeedJob.GroupVersion}/namespaces/{job.Metadata.NamespaceProperty}/{DeepSpeedJob.Plural}/{job.Metadata.Name}/status";
        JsonElement answer;
        try
        {
            answer = await api.MergePatchAsync($"{path}?fieldManager={JobLabels.ManagedBy}", patch.ToJsonString(), cancel);
        }
        catch (ApiException e) when (e.Code == HttpStatusCode.NotFound)
        {
            // Deleted in the meantime; the watch is about to say so.
            return false;
        }

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

    private sealed record LastWrite(string Uid, long At);
}

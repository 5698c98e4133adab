using System.Collections.Concurrent;
using System.Net;
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
    JobCaches caches, ApiConnection api, JobObjects objects, EventPublisher events, JobWatch watch, OperatorOptions options)
    : IEntityController<DeepSpeedJob>
{
    private readonly ConcurrentDictionary<string, FirstFailure> _failures = new();

    /// <inheritdoc/>
    public async Task<ReconcileResult> ReconcileAsync(DeepSpeedJob entity, CancellationToken cancel)
    {
        if (entity.Spec is { } spec)
        {
            entity = entity.With(options.Defaults.Over(spec));
        }

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
        JobDecision decision = JobDecision.For(observed);
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

            if (decision.CreateNodes.Count > 0)
            {
                await objects.CreateAsync(entity, status, decision.CreateNodes, observed.Config, cancel);
            }
        }
        catch (ObjectRefusedException e)
        {
            refused = e;
            status = Refused(observed, status, e);
        }

        if (!await WriteAsync(entity, status.WithMessage(), cancel))
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
        caches.Progress.Forget(key);
    }

    private async Task<JobSnapshot> ObserveAsync(DeepSpeedJob job, CancellationToken cancel)
    {
        DateTimeOffset now = watch.Time.GetUtcNow();
        IReadOnlyList<ConfigError> problems = job.Spec is { } spec ? ClusterRules.Check(job.Metadata.Name, spec, options.AllowHostAccess) : job.Problems;
        (string? config, string? wait) = (JobObjects.TextOf(job.Spec?.Config), null);
        if (problems.Count == 0 && NeedsConfig(job))
        {
            ConfigReference reference = job.Spec!.ConfigRef!;
            (config, wait) = await objects.ReadConfigAsync(job.Metadata.NamespaceProperty, reference, cancel);
            problems = config is null ? [] : CheckReferenced(reference, config, job.Spec);
        }

        BoardEntry? known = caches.Progress.Latest(job.Key, job.Metadata.Uid, job.Status.Attempt);
        var snapshot = new JobSnapshot
        {
            Name = job.Metadata.Name,
            Generation = job.Metadata.Generation ?? 0,
            Spec = job.Spec,
            Problems = problems,
            ConfigWait = wait,
            Status = job.Status,
            Pods = caches.Pods.Group(job.Metadata.Uid),
            Config = config,
            Progress = known?.Report,
            MovedAt = known?.MovedAt,
            NodeSteps = known?.NodeSteps ?? new Dictionary<int, long?>(),
            NotReady = caches.NotReady(),
            Now = new DateTimeOffset(now.UtcTicks - now.UtcTicks % TimeSpan.TicksPerSecond, TimeSpan.Zero),
        };
        return snapshot with { FailureSeenAt = FailureSeen(job, snapshot) };
    }

    // The config matters only until the pods of an attempt exist; later edits of the ConfigMap do not touch them. An
    // elastic job may need another attempt at any time, whose size the config decides.
    private static bool NeedsConfig(DeepSpeedJob job) => job.Spec is { ConfigRef: not null } spec && !spec.IsSuspended()
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

    // Every write carries the version it was decided on: with two operators by mistake, one of them loses.
    // False when the job is gone.
    private async Task<bool> WriteAsync(DeepSpeedJob job, DeepSpeedJobStatus status, CancellationToken cancel)
    {
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

        DeepSpeedJob written = DeepSpeedJob.Read(answer);
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
}

/// <summary>What is known of the cluster.</summary>
/// <param name="Jobs">All jobs.</param>
/// <param name="Pods">Their pods, in groups by owner.</param>
/// <param name="Nodes">The machines; empty where they may not be watched.</param>
/// <param name="Progress">The latest reports of rank 0.</param>
internal sealed record JobCaches(
    ObjectCache<DeepSpeedJob> Jobs, ObjectCache<PodSnapshot> Pods, ObjectCache<NodeSnapshot> Nodes, ProgressBoard Progress)
{
    /// <summary>Empty caches.</summary>
    public static JobCaches Create() => new(new(_ => null), new(p => p.OwnerUid),
        new(n => n.NotReadySince is null ? null : "not-ready"), new ProgressBoard());

    /// <summary>Machines that do not answer, and since when.</summary>
    public IReadOnlyDictionary<string, DateTimeOffset> NotReady() =>
        Nodes.Group("not-ready").ToDictionary(n => n.Name, n => n.NotReadySince!.Value);
}

/// <summary>Clock, metrics and log.</summary>
internal sealed record JobWatch(TimeProvider Time, OperatorMetrics Metrics, ILogger Log);

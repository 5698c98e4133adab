using System.Collections.Concurrent;
using System.Net;
using System.Text.Json;
using System.Text.Json.Nodes;
using DeepSpeedSharp.Jobs;
using DeepSpeedSharp.Operator.Api.V1Alpha1;
using DeepSpeedSharp.Operator.Planning;
using DeepSpeedSharp.Operator.Runtime;
using k8s.Models;

namespace DeepSpeedSharp.Operator;

/// <summary>Writes the status of jobs, not more often than it says something, and knows when an earlier write is in doubt.</summary>
/// <param name="caches">Receives what was written.</param>
/// <param name="api">The API server.</param>
/// <param name="events">Tells of what changed.</param>
/// <param name="watch">Clock, metrics and log.</param>
internal sealed class StatusWriter(JobCaches caches, ApiConnection api, EventPublisher events, JobWatch watch)
{
    private readonly ConcurrentDictionary<string, LastWrite> _writes = new();

    // Jobs of which a write failed. It may have been carried out for all that, and then what is known here is not true any more.
    private readonly ConcurrentDictionary<string, bool> _unsure = new();

    /// <summary>A job as it is: as it is known, or read again after a write whose answer was lost.</summary>
    /// <returns>Null when it is gone, or another one of its name is there: then there is an event to come. One that is being deleted
    /// or managed by somebody else meanwhile is left to that event as well.</returns>
    public async Task<DeepSpeedJob?> CurrentAsync(DeepSpeedJob job, CancellationToken cancel)
    {
        if (!_unsure.ContainsKey(job.Key))
        {
            return job;
        }

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

    /// <summary>How long a write may still wait, because the last one was a moment ago and it says little new; null when it may not.</summary>
    public TimeSpan? Pause(DeepSpeedJob job, DeepSpeedJobStatus status)
    {
        if (!_writes.TryGetValue(job.Key, out LastWrite? last) || last.Uid != job.Metadata.Uid || !StatusPace.MayWait(job.Status, status))
        {
            return null;
        }

        TimeSpan left = StatusPace.Between(job.Status, status) - watch.Time.GetElapsedTime(last.At);
        return left > TimeSpan.Zero ? left : null;
    }

    /// <summary>Writes a status, if it says anything new, and tells what it says by events.</summary>
    /// <remarks>Every write carries the version it was decided on: with two operators by mistake, one of them loses.</remarks>
    /// <returns>False when the job is gone.</returns>
    public async Task<bool> WriteAsync(DeepSpeedJob job, DeepSpeedJobStatus status, CancellationToken cancel)
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

    /// <summary>Forgets a job that is gone.</summary>
    /// <param name="key">Its namespace and name.</param>
    public void Forget(string key)
    {
        _writes.TryRemove(key, out _);
        _unsure.TryRemove(key, out _);
    }

    private static string PathOf(DeepSpeedJob job) => DeepSpeedJob.PathOf(job.Metadata.NamespaceProperty, job.Metadata.Name);

    private sealed record LastWrite(string Uid, long At);
}

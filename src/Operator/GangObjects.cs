using System.Net;
using System.Text.Json;
using System.Text.Json.Nodes;
using DeepSpeedSharp.Jobs;
using DeepSpeedSharp.Operator.Api.V1Alpha1;
using DeepSpeedSharp.Operator.Planning;
using DeepSpeedSharp.Operator.Resources;
using DeepSpeedSharp.Operator.Resources.Gang;
using DeepSpeedSharp.Operator.Runtime;

namespace DeepSpeedSharp.Operator;

/// <summary>Keeps the objects by which gang schedulers and queues know a job. None of their APIs needs to exist: a job that asks
/// for one that does not waits, and says what is missing.</summary>
/// <param name="api">The API server.</param>
/// <param name="objects">Makes objects.</param>
/// <param name="groups">Volcano's PodGroups, as far as they were seen.</param>
/// <param name="time">Clock.</param>
internal sealed class GangObjects(ApiConnection api, JobObjects objects, ObjectCache<GroupSnapshot> groups, TimeProvider time)
{
    // Many jobs may wait for one API; somebody installs it at most once.
    private static readonly TimeSpan BetweenLooks = TimeSpan.FromSeconds(10);

    private readonly Dictionary<GangScheduler, (bool IsServed, DateTimeOffset At)> _looks = [];
    private readonly TaskCompletionSource _needsWatch = new(TaskCreationOptions.RunContinuationsAsynchronously);

    /// <summary>Completes when there is a first job whose PodGroup has to be watched, and its API is served.</summary>
    public Task NeedsWatch => _needsWatch.Task;

    /// <summary>Makes sure that the gang scheduler of a job is there, and knows the job's current attempt.</summary>
    /// <param name="job">The job, with a valid spec.</param>
    /// <param name="status">The status that was written: its attempt is the one to make a group for.</param>
    /// <param name="cancel">Ends the work.</param>
    /// <exception cref="ObjectRefusedException">The scheduler's API is missing, or does not take the group.</exception>
    public async Task EnsureAsync(DeepSpeedJob job, DeepSpeedJobStatus status, CancellationToken cancel)
    {
        if (Scheduler(status) is not { } scheduler || scheduler == GangScheduler.None)
        {
            return;
        }

        await NeedAsync(scheduler, cancel);
        (JobOwner owner, DeepSpeedJobSpec spec) = (JobOwner.Of(job), job.Spec!.At(status));
        if (PodGroups.Build(owner, spec, status.Attempt, WorkerPods.AnyOf(owner, spec, status.Attempt)) is not { } group)
        {
            return;
        }

        if (status.Attempt > 1)
        {
            await RemoveAsync(job, scheduler, except: group.Metadata.Name, cancel);
        }

        try
        {
            await objects.EnsureAsync(owner, PodGroup.Plural, group, Collection(scheduler, owner.Namespace), cancel, found =>
            {
                if (scheduler == GangScheduler.Volcano)
                {
                    var snapshot = GroupSnapshot.Read(found);
                    groups.Put(snapshot.Key, found.Get("metadata").Text("resourceVersion")!, snapshot);
                    _needsWatch.TrySetResult();
                }
            });
        }
        catch (ObjectRefusedException e) when (e.Reason == Reasons.Forbidden)
        {
            throw new ObjectRefusedException(e.Reason, $"{e.Message} (The right to {PodGroup.Plural} comes with the chart's value rbac.gangSchedulers.)", isFinal: false);
        }
        catch (ApiException e) when (e.Code == HttpStatusCode.NotFound)
        {
            // The API was there a moment ago, or the namespace is gone, which the watch of jobs will tell.
            Forget(scheduler);
            throw Missing(scheduler);
        }
    }

    /// <summary>Removes the PodGroups of a job.</summary>
    /// <param name="job">The job.</param>
    /// <param name="cancel">Ends the work.</param>
    public Task RemoveAsync(DeepSpeedJob job, CancellationToken cancel) =>
        Scheduler(job.Status) is { } scheduler ? RemoveAsync(job, scheduler, except: null, cancel) : Task.CompletedTask;

    /// <summary>Says to Kueue, on pods, that their groups get no more of them.</summary>
    public async Task CloseAsync(IEnumerable<PodSnapshot> pods, CancellationToken cancel)
    {
        foreach (PodSnapshot pod in pods)
        {
            string patch = new JsonObject
            {
                ["metadata"] = new JsonObject
                {
                    ["uid"] = pod.Uid,
                    ["annotations"] = new JsonObject { [KueueGroup.RetriableAnnotation] = "false" },
                },
            }.ToJsonString();
            try
            {
                await api.MergePatchAsync($"/api/v1/namespaces/{pod.Namespace}/pods/{pod.Name}?fieldManager={JobLabels.ManagedBy}", patch, cancel);
            }
            catch (ApiException e) when (e.Code is HttpStatusCode.NotFound or HttpStatusCode.UnprocessableEntity || e.IsConflict)
            {
                // Gone, and perhaps another one of its name is there; the watch is about to say so.
            }
        }
    }

    /// <summary>Deletes the Workloads of groups of Kueue's, which lets their pods go.</summary>
    public async Task DropWorkloadsAsync(string ns, IEnumerable<string> names, CancellationToken cancel)
    {
        foreach (string name in names)
        {
            try
            {
                JsonElement versions = await api.GetAsync($"/apis/{KueueGroup.ApiGroup}", cancel);
                string path = $"/apis/{versions.Get("preferredVersion").Text("groupVersion")}/namespaces/{ns}/workloads/{name}";
                JsonElement metadata = (await api.GetAsync(path, cancel)).GetProperty("metadata");
                if (metadata.Text("deletionTimestamp") is null)
                {
                    await api.DeleteAsync(path, metadata.Text("uid")!, null, cancel);
                }
            }
            catch (ApiException e) when (e.Code == HttpStatusCode.NotFound)
            {
                // Kueue had not made one, or it is gone already.
            }
        }
    }

    private async Task RemoveAsync(DeepSpeedJob job, GangScheduler scheduler, string? except, CancellationToken cancel)
    {
        if (PodGroups.ApiVersion(scheduler) is null)
        {
            return;
        }

        try
        {
            await api.DeleteAllAsync(Collection(scheduler, job.Metadata.NamespaceProperty), $"{JobLabels.JobUid}={job.Metadata.Uid}",
                metadata => metadata.Text("name") != except, cancel);
        }
        catch (ApiException e) when (e.Code is HttpStatusCode.NotFound or HttpStatusCode.Forbidden)
        {
            // Without the API there are no groups; without the right none was made.
        }
    }

    private async Task NeedAsync(GangScheduler scheduler, CancellationToken cancel)
    {
        DateTimeOffset now = time.GetUtcNow();
        bool? known;
        lock (_looks)
        {
            known = _looks.TryGetValue(scheduler, out (bool IsServed, DateTimeOffset At) look) && (look.IsServed || now - look.At < BetweenLooks)
                ? look.IsServed : null;
        }

        if (known is null)
        {
            known = await IsServedAsync(scheduler, cancel);
            lock (_looks)
            {
                _looks[scheduler] = (known.Value, now);
            }
        }

        if (known == false)
        {
            throw Missing(scheduler);
        }
    }

    private void Forget(GangScheduler scheduler)
    {
        lock (_looks)
        {
            _looks.Remove(scheduler);
        }
    }

    // Everybody who has an account may ask which APIs there are.
    private async Task<bool> IsServedAsync(GangScheduler scheduler, CancellationToken cancel)
    {
        string? version = PodGroups.ApiVersion(scheduler);
        try
        {
            JsonElement answer = await api.GetAsync($"/apis/{version ?? KueueGroup.ApiGroup}", cancel);
            return version is null || (answer.Get("resources") is { ValueKind: JsonValueKind.Array } resources
                && resources.EnumerateArray().Any(r => r.Text("name") == PodGroup.Plural));
        }
        catch (ApiException e) when (e.Code == HttpStatusCode.NotFound)
        {
            return false;
        }
    }

    private static ObjectRefusedException Missing(GangScheduler scheduler)
    {
        (string what, string install) = scheduler switch
        {
            GangScheduler.Volcano => ("podgroups of scheduling.volcano.sh/v1beta1", "Install Volcano, whose chart brings them"),
            GangScheduler.Coscheduling => ("podgroups of scheduling.x-k8s.io/v1alpha1", "Install scheduler-plugins, whose chart brings them"),
            _ => ("workloads of kueue.x-k8s.io", "Install Kueue with its integration pod enabled"),
        };
        return new ObjectRefusedException(Reasons.GangSchedulerMissing,
            $"scheduling.gang is {scheduler}, and this cluster does not have {what}. {install}; the job starts by itself then. "
            + "Or suspend the job, choose another scheduling.gang, such as None, and resume it.", isFinal: false);
    }

    private static GangScheduler? Scheduler(DeepSpeedJobStatus status) =>
        Enum.TryParse(status.Gang?.Scheduler, out GangScheduler scheduler) ? scheduler : null;

    private static string Collection(GangScheduler scheduler, string ns) =>
        $"/apis/{PodGroups.ApiVersion(scheduler)}/namespaces/{ns}/{PodGroup.Plural}";
}

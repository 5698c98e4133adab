using System.Globalization;
using System.Net;
using System.Security.Cryptography;
using System.Text.Encodings.Web;
using System.Text.Json;
using DeepSpeedSharp.Jobs;
using DeepSpeedSharp.Operator.Api.V1Alpha1;
using DeepSpeedSharp.Operator.Planning;
using DeepSpeedSharp.Operator.Resources;
using DeepSpeedSharp.Operator.Runtime;
using k8s;
using k8s.Models;

namespace DeepSpeedSharp.Operator;

/// <summary>The cluster refuses an object of a job; a retry may help, or only another spec.</summary>
/// <param name="reason">Reason of the condition.</param>
/// <param name="message">What the cluster said.</param>
/// <param name="isFinal">Whether only another spec helps.</param>
internal sealed class ObjectRefusedException(string reason, string message, bool isFinal) : Exception(message)
{
    /// <summary>Reason of the condition.</summary>
    public string Reason { get; } = reason;

    /// <summary>Whether only another spec helps.</summary>
    public bool IsFinal { get; } = isFinal;
}

/// <summary>Creates and deletes a job's objects. Names are fixed by job, attempt and node, so doing it twice is harmless.</summary>
/// <param name="api">The API server.</param>
/// <param name="caches">Receives what is created.</param>
/// <param name="parallelism">Pods of a job that are created or deleted at a time.</param>
/// <param name="watch">Clock, metrics and log.</param>
internal sealed class JobObjects(ApiConnection api, JobCaches caches, int parallelism, JobWatch watch)
{
    private string? _policyVersion;

    private static readonly JsonSerializerOptions Readable =
        new() { WriteIndented = true, Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    /// <summary>Reads a config from its ConfigMap.</summary>
    /// <returns>The text, or why there is none.</returns>
    public async Task<(string? Text, string? Wait)> ReadConfigAsync(string ns, ConfigReference reference, CancellationToken cancel)
    {
        string key = reference.Key ?? AttemptConfigMap.ConfigKey;
        try
        {
            JsonElement map = await api.GetAsync($"{Core(ns, "configmaps")}/{Uri.EscapeDataString(reference.Name)}", cancel);
            return map.Get("data").Text(key) is { } text
                ? (text, null)
                : (null, $"ConfigMap {reference.Name}, which configRef names, has no key {key}; add it, or correct configRef.key.");
        }
        catch (ApiException e) when (e.Code is HttpStatusCode.NotFound or HttpStatusCode.Forbidden)
        {
            return (null, $"ConfigMap {reference.Name}, which configRef names, cannot be read; create it in namespace {ns}. ({e.ServerMessage})");
        }
    }

    /// <summary>Deletes pods.</summary>
    public async Task DeleteAsync(DeepSpeedJob job, IReadOnlyList<PodDeletion> deletions, CancellationToken cancel) =>
        await Parallel.ForEachAsync(deletions, Parallelism(cancel), async (deletion, token) =>
        {
            Log.DeletingPod(watch.Log, job.Key, deletion.Pod.Name);
            await api.DeleteAsync($"{Core(deletion.Pod.Namespace, "pods")}/{deletion.Pod.Name}", deletion.Pod.Uid,
                deletion.Force ? 0 : null, token);
        });

    /// <summary>Looks for the pods of the current attempt at the API server itself. Another operator may have made them: then
    /// its status can be known here before its pods are.</summary>
    public async Task FindPodsAsync(DeepSpeedJob job, CancellationToken cancel)
    {
        string selector = Uri.EscapeDataString(string.Create(CultureInfo.InvariantCulture,
            $"{JobLabels.JobUid}={job.Metadata.Uid},{JobLabels.Attempt}={job.Status.Attempt}"));
        Cached<PodSnapshot>[] found = await api.GetAsync($"{Core(job.Metadata.NamespaceProperty, "pods")}?labelSelector={selector}",
            list => list.GetProperty("items").EnumerateArray().Select(ReadPod).ToArray(), cancel);
        foreach (Cached<PodSnapshot> pod in found)
        {
            caches.Pods.Put(pod.Value.Key, pod.Version, pod.Value);
        }
    }

    /// <summary>The text that a pod gets of an inline config.</summary>
    public static string? TextOf(System.Text.Json.Nodes.JsonObject? config) => config?.ToJsonString(Readable);

    /// <summary>Deletes a job whose time after its end is over, with all that it owns.</summary>
    /// <returns>Whether it was deleted, and not edited in this moment: an edit may open a failed job again.</returns>
    public async Task<bool> DeleteJobAsync(DeepSpeedJob job, CancellationToken cancel)
    {
        Log.DeletingJob(watch.Log, job.Key, job.Spec?.TtlSecondsAfterFinished ?? 0);
        return await api.DeleteAsync(DeepSpeedJob.PathOf(job.Metadata.NamespaceProperty, job.Metadata.Name),
            job.Metadata.Uid, null, cancel, propagation: "Foreground", version: job.Metadata.ResourceVersion);
    }

    /// <summary>Removes what keeps drains from ending a job's pods.</summary>
    public async Task DeleteBudgetAsync(DeepSpeedJob job, CancellationToken cancel)
    {
        string path = $"{await BudgetsAsync(job.Metadata.NamespaceProperty, cancel)}/{job.Metadata.Name}";
        try
        {
            JsonElement metadata = (await api.GetAsync(path, cancel)).GetProperty("metadata");
            if (IsOwned(metadata, job.Metadata.Uid))
            {
                await api.DeleteAsync(path, metadata.Text("uid")!, null, cancel);
            }
        }
        catch (ApiException e) when (e.Code == HttpStatusCode.NotFound)
        {
        }
    }

    /// <summary>Creates what an attempt needs and then its missing pods.</summary>
    /// <param name="job">The job, with a valid spec.</param>
    /// <param name="status">The status that was written: its attempt is the one to create.</param>
    /// <param name="nodes">Indexes of the missing pods.</param>
    /// <param name="config">Text of the config; null when the job has none.</param>
    /// <param name="cancel">Ends the work; what was created stays.</param>
    /// <exception cref="ObjectRefusedException">The cluster does not take an object.</exception>
    public async Task CreateAsync(DeepSpeedJob job, DeepSpeedJobStatus status, IReadOnlyList<int> nodes,
        string? config, CancellationToken cancel)
    {
        (JobOwner owner, DeepSpeedJobSpec spec, int attempt) = (JobOwner.Of(job), job.Spec!.At(status), status.Attempt);
        JobPlan plan = JobPlan.From(spec, new JobIdentity(owner.Name, owner.Namespace, owner.Uid, attempt, status.Restarts),
            WorkerPods.Placement(owner, spec, attempt), JobConfig.Elasticity(config));
        await DeleteOldConfigMapsAsync(owner, attempt, cancel);
        if (RendezvousSecret.IsUsed(spec))
        {
            await CreateSecretAsync(owner, status, cancel);
        }

        await EnsureServiceAsync(job, status, cancel);
        await CreateOwnedAsync(owner, "configmaps", AttemptConfigMap.Build(owner, attempt, plan, config),
            AttemptConfigMap.Name(owner.Name, attempt), cancel);
        await CreateGuardsAsync(owner, spec, status.Nodes!.Desired, cancel);
        if (CheckpointClaim.Build(owner, spec) is { } claim)
        {
            await CreateClaimAsync(owner, claim, cancel);
        }

        // One, two, four and so on: a quota or an admission rule then costs one failed request, not thousands.
        for (int done = 0, batch = 1; done < nodes.Count; done += batch, batch *= 2)
        {
            await Parallel.ForEachAsync(nodes.Skip(done).Take(batch), Parallelism(cancel), async (index, token) =>
            {
                object pod = WorkerPods.Build(owner, spec, attempt, plan.Nodes[index], status.AvoidedNodes, status.Gang?.Group);
                Cached<PodSnapshot> created = await CreateOwnedAsync(
                    owner, "pods", pod, WorkerPods.Name(owner.Name, attempt, index), ReadPod, token);
                caches.Pods.Put(created.Value.Key, created.Version, created.Value);
            });
        }

        watch.Metrics.PodsCreated(nodes.Count);
        Log.PodsCreated(watch.Log, job.Key, nodes.Count, attempt);
    }

    /// <summary>Creates the Service that gives a job's pods their names, or brings it to what the spec says now.</summary>
    /// <param name="job">The job, with a valid spec.</param>
    /// <param name="status">Its status, which says how many nodes it has.</param>
    /// <param name="cancel">Ends the work.</param>
    public Task EnsureServiceAsync(DeepSpeedJob job, DeepSpeedJobStatus status, CancellationToken cancel)
    {
        var owner = JobOwner.Of(job);
        return EnsureAsync(owner, "services", HeadlessService.Build(owner, job.Spec!.At(status)), Core(owner.Namespace, "services"), cancel,
            service => caches.Services.Put(job.Key, VersionOf(service), ServiceSnapshot.Read(service)));
    }

    private static string VersionOf(JsonElement item) => item.GetProperty("metadata").GetProperty("resourceVersion").GetString()!;

    private Cached<PodSnapshot> ReadPod(JsonElement pod) =>
        new(VersionOf(pod), caches.Follow(PodSnapshot.Read(pod), isNews: true, watch.Time));

    private async Task CreateGuardsAsync(JobOwner owner, DeepSpeedJobSpec spec, int pods, CancellationToken cancel)
    {
        if (JobGuards.NetworkPolicy(owner, spec) is { } policy)
        {
            await EnsureAsync(owner, "networkpolicies", policy, $"/apis/networking.k8s.io/v1/namespaces/{owner.Namespace}/networkpolicies", cancel);
        }

        if (spec.Scheduling?.PodDisruptionBudget == true)
        {
            // An elastic job may have another size than when the budget was made.
            string path = await BudgetsAsync(owner.Namespace, cancel);
            await EnsureAsync(owner, "poddisruptionbudgets",
                JobGuards.DisruptionBudget(owner, spec, pods, $"policy/{_policyVersion}")!, path, cancel);
        }
    }

    /// <summary>Creates an object of a job, or brings it to what the spec says now. Its hash says when that is needed.</summary>
    /// <param name="owner">The job.</param>
    /// <param name="plural">Plural of its kind.</param>
    /// <param name="wanted">The object.</param>
    /// <param name="collection">Path of the collection.</param>
    /// <param name="cancel">Ends the work.</param>
    /// <param name="seen">Receives the object as it was created, or found.</param>
    internal async Task EnsureAsync<T>(
        JobOwner owner, string plural, T wanted, string collection, CancellationToken cancel, Action<JsonElement>? seen = null)
        where T : IKubernetesObject<V1ObjectMeta>
    {
        string hash = SpecHash.OfText(KubernetesJson.Serialize(wanted));
        wanted.Metadata.Annotations = new Dictionary<string, string> { [JobLabels.AppliedHash] = hash };
        string? found = await CreateOwnedAsync(owner, plural, wanted, wanted.Metadata.Name, o =>
        {
            seen?.Invoke(o);
            return o.Get("metadata").Get("annotations").Text(JobLabels.AppliedHash);
        }, cancel, collection);
        if (found != hash)
        {
            await api.ApplyAsync($"{collection}/{wanted.Metadata.Name}", wanted, JobLabels.ManagedBy, cancel);
        }
    }

    // policy/v1 exists since Kubernetes 1.21; v1beta1 is gone since 1.25.
    private async Task<string> BudgetsAsync(string ns, CancellationToken cancel)
    {
        if (_policyVersion is null)
        {
            JsonElement versions = (await api.GetAsync("/apis/policy", cancel)).Get("versions");
            bool isNew = versions.ValueKind == JsonValueKind.Array && versions.EnumerateArray().Any(v => v.Text("version") == "v1");
            _policyVersion = isNew ? "v1" : "v1beta1";
        }

        return $"/apis/policy/{_policyVersion}/namespaces/{ns}/poddisruptionbudgets";
    }

    private static bool IsOwned(JsonElement metadata, string uid) =>
        metadata.Get("ownerReferences") is { ValueKind: JsonValueKind.Array } owners && owners.EnumerateArray().Any(o => o.Text("uid") == uid);

    private Task<bool> CreateOwnedAsync(JobOwner owner, string plural, object body, string name, CancellationToken cancel) =>
        CreateOwnedAsync(owner, plural, body, name, _ => true, cancel);

    private async Task<T> CreateOwnedAsync<T>(JobOwner owner, string plural, object body, string name,
        Func<JsonElement, T> read, CancellationToken cancel, string? collection = null)
    {
        collection ??= Core(owner.Namespace, plural);
        try
        {
            return await api.PostAsync($"{collection}?fieldManager={JobLabels.ManagedBy}", body, read, cancel);
        }
        catch (ApiException e) when (e.IsAlreadyExists)
        {
            JsonElement existing = await api.GetAsync($"{collection}/{name}", cancel);
            if (IsOwned(existing.Get("metadata"), owner.Uid))
            {
                return read(existing);
            }

            // Mostly what is left of a deleted job of the same name.
            throw new ObjectRefusedException(Reasons.NameConflict,
                $"{plural} {name} exists and belongs to another object; waiting until it is gone.", isFinal: false);
        }
        catch (ApiException e) when (e.Code == HttpStatusCode.Forbidden)
        {
            throw Forbidden(e);
        }
        catch (ApiException e) when (e.Code is HttpStatusCode.UnprocessableEntity or HttpStatusCode.BadRequest)
        {
            throw new ObjectRefusedException(Reasons.InvalidSpec, e.ServerMessage, isFinal: true);
        }
    }

    // A claim of that name is the one of an earlier job of the same name: its checkpoints are what is wanted.
    private async Task CreateClaimAsync(JobOwner owner, object claim, CancellationToken cancel)
    {
        try
        {
            await CreateOwnedAsync(owner, "persistentvolumeclaims", claim,
                ((V1PersistentVolumeClaim)claim).Metadata.Name, cancel);
        }
        catch (ObjectRefusedException e) when (e.Reason == Reasons.NameConflict)
        {
        }
    }

    private async Task DeleteOldConfigMapsAsync(JobOwner owner, int attempt, CancellationToken cancel)
    {
        if (attempt <= 1)
        {
            return;
        }

        // One of an attempt that is not known here belongs to an operator that knows more.
        await api.DeleteAllAsync(Core(owner.Namespace, "configmaps"), $"{JobLabels.JobUid}={owner.Uid},{JobLabels.Attempt}!={attempt}",
            metadata => int.TryParse(metadata.Get("labels").Text(JobLabels.Attempt), NumberStyles.None, CultureInfo.InvariantCulture, out int old)
                && old <= attempt, cancel);
    }

    // Only created and deleted: the operator may not read secrets. One that is there already was made by an earlier pass for
    // this very attempt, and pods may have it.
    private async Task CreateSecretAsync(JobOwner owner, DeepSpeedJobStatus status, CancellationToken cancel)
    {
        string secrets = Core(owner.Namespace, "secrets");
        foreach (string old in RendezvousSecret.Older(owner, status.CreatedAttempt, status.Attempt))
        {
            await api.DeleteAsync($"{secrets}/{old}", null, null, cancel);
        }

        try
        {
            V1Secret secret = RendezvousSecret.Build(owner, status.Attempt, RandomNumberGenerator.GetBytes(RendezvousSecret.Bytes));
            await api.PostAsync($"{secrets}?fieldManager={JobLabels.ManagedBy}", secret, _ => true, cancel);
        }
        catch (ApiException e) when (e.IsAlreadyExists)
        {
        }
        catch (ApiException e) when (e.Code == HttpStatusCode.Forbidden)
        {
            throw Forbidden(e);
        }
    }

    private static ObjectRefusedException Forbidden(ApiException e) => new(
        e.ServerMessage.Contains("exceeded quota", StringComparison.Ordinal) ? Reasons.QuotaExceeded : Reasons.Forbidden,
        e.ServerMessage, isFinal: false);

    private static string Core(string ns, string plural) => $"/api/v1/namespaces/{ns}/{plural}";

    private ParallelOptions Parallelism(CancellationToken cancel) =>
        new() { MaxDegreeOfParallelism = parallelism, CancellationToken = cancel };
}

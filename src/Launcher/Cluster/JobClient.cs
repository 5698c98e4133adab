using System.Text.Json;
using System.Text.Json.Nodes;
using DeepSpeedSharp.Jobs;
using DeepSpeedSharp.Operator.Api.V1Alpha1;
using DeepSpeedSharp.Operator.Runtime;

namespace DeepSpeedSharp.Launcher.Cluster;

/// <summary>What this program asks a cluster about jobs.</summary>
/// <param name="connection">The connection.</param>
internal sealed class JobClient(ClusterConnection connection)
{
    /// <summary>Field manager of what this program writes.</summary>
    private const string Manager = "deepspeed";

    private const string Group = $"/apis/{DeepSpeedJobManifest.Group}/{DeepSpeedJobManifest.Version}";

    /// <summary>The namespace.</summary>
    public string Namespace => connection.Namespace;

    /// <summary>Whether the user named the namespace, and not only the kubeconfig.</summary>
    public bool IsNamespaceGiven => connection.IsNamespaceGiven;

    /// <summary>The same cluster, another namespace.</summary>
    public JobClient In(string ns) => new(connection with { Namespace = ns, IsNamespaceGiven = true });

    /// <summary>All jobs, as the server sends them.</summary>
    /// <param name="everywhere">Whether in all namespaces.</param>
    /// <param name="cancel">Ends the request.</param>
    public async Task<IReadOnlyList<JsonElement>> ListAsync(bool everywhere, CancellationToken cancel)
    {
        JsonElement list = await connection.Api.GetAsync(
            everywhere ? $"{Group}/{DeepSpeedJob.Plural}" : $"{Group}/namespaces/{Namespace}/{DeepSpeedJob.Plural}", cancel);
        return [.. list.GetProperty("items").EnumerateArray()];
    }

    /// <summary>One job as the server sends it; null when there is none of that name.</summary>
    public async Task<JsonElement?> FindAsync(string name, CancellationToken cancel)
    {
        try
        {
            return await connection.Api.GetAsync(PathOf(name), cancel);
        }
        catch (ApiException e) when (e.Code == System.Net.HttpStatusCode.NotFound && e.Reason == "NotFound"
            && e.ServerMessage.Contains(name, StringComparison.Ordinal))
        {
            return null;
        }
    }

    /// <summary>Creates a job, or changes it to what the manifest says.</summary>
    public Task<JsonElement> ApplyAsync(string name, JsonObject manifest, CancellationToken cancel) =>
        connection.Api.ApplyAsync(PathOf(name), Manager, manifest.ToJsonString(), cancel);

    /// <summary>Suspends a job: its pods save and end, and the job stays.</summary>
    public Task<JsonElement> SuspendAsync(string name, CancellationToken cancel) =>
        connection.Api.MergePatchAsync($"{PathOf(name)}?fieldManager={Manager}", """{"spec":{"suspend":true}}""", cancel);

    /// <summary>Deletes a job; its checkpoints stay on their volume.</summary>
    public Task<bool> DeleteAsync(string name, string uid, CancellationToken cancel) =>
        connection.Api.DeleteAsync(PathOf(name), uid, null, cancel);

    /// <summary>The pods of a job, by attempt and node.</summary>
    public async Task<IReadOnlyList<PodLine>> PodsAsync(string job, CancellationToken cancel)
    {
        JsonElement list = await connection.Api.GetAsync(
            $"/api/v1/namespaces/{Namespace}/pods?labelSelector={Uri.EscapeDataString($"{JobLabels.JobName}={job}")}", cancel);
        return [.. list.GetProperty("items").EnumerateArray().Select(PodLine.Read).OrderBy(pod => pod.Attempt).ThenBy(pod => pod.Node)];
    }

    /// <summary>The latest events of a job, oldest first: time, type, reason, message.</summary>
    public async Task<IReadOnlyList<JsonElement>> EventsAsync(string job, CancellationToken cancel)
    {
        string selector = Uri.EscapeDataString($"involvedObject.kind={DeepSpeedJobManifest.Kind},involvedObject.name={job}");
        JsonElement list = await connection.Api.GetAsync($"/api/v1/namespaces/{Namespace}/events?fieldSelector={selector}", cancel);
        return [.. list.GetProperty("items").EnumerateArray().OrderBy(e => JobText.Text(e, "lastTimestamp") ?? JobText.Text(e, "eventTime") ?? "")];
    }

    /// <summary>Opens the log of a pod. The caller disposes the answer.</summary>
    /// <param name="pod">Name of the pod.</param>
    /// <param name="query">Query of the request, for example <c>follow=true</c>.</param>
    /// <param name="cancel">Ends it.</param>
    public Task<HttpResponseMessage> LogAsync(string pod, string query, CancellationToken cancel) =>
        connection.Api.OpenAsync($"/api/v1/namespaces/{Namespace}/pods/{pod}/log?container={PodLine.Container}&{query}", cancel);

    private string PathOf(string name) => DeepSpeedJob.PathOf(Namespace, name);
}

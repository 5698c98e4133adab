using System.Globalization;
using System.Text.Json.Nodes;
using DeepSpeedSharp.Operator.Benchmarks;

namespace DeepSpeedSharp.Operator.Server.Tests;

/// <summary>What scheduler and kubelets do to the pods of a namespace, when somebody says so.</summary>
/// <param name="api">The API server.</param>
/// <param name="ns">The namespace.</param>
internal sealed class Kubelet(ApiClient api, string ns)
{
    private string Pods => $"/api/v1/namespaces/{ns}/pods";

    /// <summary>The pod gets a machine and runs, and is ready.</summary>
    public async Task RunAsync(string pod, string machine = "node-1", string ip = "10.0.0.1")
    {
        await BindAsync(pod, machine);
        await StatusAsync(pod, "Running", new JsonObject { ["running"] = new JsonObject { ["startedAt"] = Now() } }, isReady: true, ip);
    }

    /// <summary>The pod gets a machine.</summary>
    public Task BindAsync(string pod, string machine) => api.PostAsync($"{Pods}/{pod}/binding",
        $$$"""{"apiVersion":"v1","kind":"Binding","metadata":{"name":"{{{pod}}}"},"target":{"apiVersion":"v1","kind":"Node","name":"{{{machine}}}"}}""");

    /// <summary>The container of the pod cannot start.</summary>
    public Task WaitAsync(string pod, string reason, string message) =>
        StatusAsync(pod, "Pending", new JsonObject { ["waiting"] = new JsonObject { ["reason"] = reason, ["message"] = message } }, isReady: false);

    /// <summary>The program of the pod ends.</summary>
    public Task FinishAsync(string pod, int exitCode, string? message = null, string? reason = null)
    {
        var end = new JsonObject
        {
            ["exitCode"] = exitCode,
            ["reason"] = reason ?? (exitCode == 0 ? "Completed" : "Error"),
            ["startedAt"] = Now(),
            ["finishedAt"] = Now(),
        };
        if (message is not null)
        {
            end["message"] = message;
        }

        return StatusAsync(pod, exitCode == 0 ? "Succeeded" : "Failed", new JsonObject { ["terminated"] = end }, isReady: false);
    }

    /// <summary>Node 1 of a job of two fails, and the other loses it: so nobody has to wait for what that will do.</summary>
    public async Task FailAsync(string job, int attempt, int exitCode)
    {
        await FinishAsync(Pod(job, attempt, 1), exitCode);
        await FinishAsync(Pod(job, attempt, 0), 69);
    }

    /// <summary>Both nodes of a job of two succeed.</summary>
    public async Task SucceedAsync(string job, int attempt)
    {
        await FinishAsync(Pod(job, attempt, 0), 0);
        await FinishAsync(Pod(job, attempt, 1), 0);
    }

    /// <summary>Name of a pod of a job.</summary>
    public static string Pod(string job, int attempt, int node) => string.Create(CultureInfo.InvariantCulture, $"{job}-{attempt}-{node}");

    /// <summary>A kubelet needs the room of the pod for others.</summary>
    public Task EvictAsync(string pod) => api.PatchAsync($"{Pods}/{pod}/status",
        """{"status":{"phase":"Failed","reason":"Evicted","message":"The node was low on resource: memory.","containerStatuses":null}}""");

    /// <summary>The cluster announces that it will end the pod, as a preemption or a drain does.</summary>
    public Task DisruptAsync(string pod, string reason) => api.PatchAsync($"{Pods}/{pod}/status", $$$"""
        {"status":{"conditions":[{"type":"PodScheduled","status":"True"},{"type":"DisruptionTarget","status":"True","reason":"{{{reason}}}"}]}}
        """);

    /// <summary>The scheduler finds no machine for the pod.</summary>
    public Task RefuseAsync(string pod, string message) => api.PatchAsync($"{Pods}/{pod}/status", $$$"""
        {"status":{"conditions":[{"type":"PodScheduled","status":"False","reason":"Unschedulable","message":"{{{message}}}"}]}}
        """);

    /// <summary>Somebody deletes the pod, and does not wait.</summary>
    public Task DeleteAsync(string pod) => api.DeleteAsync($"{Pods}/{pod}", """{"apiVersion":"v1","kind":"DeleteOptions"}""");

    /// <summary>The pod has ended, and its object goes.</summary>
    public Task RemoveAsync(string pod) => api.DeleteAsync($"{Pods}/{pod}", """{"apiVersion":"v1","kind":"DeleteOptions","gracePeriodSeconds":0}""");

    private async Task StatusAsync(string pod, string phase, JsonObject state, bool isReady, string ip = "10.0.0.1")
    {
        var status = new JsonObject
        {
            ["phase"] = phase,
            ["podIP"] = ip,
            ["podIPs"] = new JsonArray(new JsonObject { ["ip"] = ip }),
            ["conditions"] = new JsonArray(
                new JsonObject { ["type"] = "PodScheduled", ["status"] = "True" },
                new JsonObject { ["type"] = "Ready", ["status"] = isReady ? "True" : "False" }),
            ["containerStatuses"] = new JsonArray(new JsonObject
            {
                ["name"] = "trainer",
                ["ready"] = isReady,
                ["restartCount"] = 0,
                ["image"] = "w",
                ["imageID"] = "w",
                ["state"] = state,
            }),
        };
        await api.PatchAsync($"{Pods}/{pod}/status", new JsonObject { ["status"] = status }.ToJsonString());
    }

    private static string Now() => TimeProvider.System.GetUtcNow().UtcDateTime.ToString("yyyy-MM-dd'T'HH:mm:ss'Z'", CultureInfo.InvariantCulture);
}

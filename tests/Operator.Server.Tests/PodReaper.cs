using System.Collections.Concurrent;
using System.Text.Json;
using DeepSpeedSharp.Operator.Benchmarks;

namespace DeepSpeedSharp.Operator.Server.Tests;

/// <summary>Ends pods that are told to end, as their kubelets would.</summary>
/// <param name="api">The API server.</param>
internal sealed class PodReaper(ApiClient api)
{
    private readonly ConcurrentDictionary<string, bool> _held = new();
    private readonly ConcurrentDictionary<Task, bool> _work = new();

    /// <summary>Lets the pods of a namespace be: their kubelets do not answer, or take their time.</summary>
    public void Hold(string ns) => _held[ns] = true;

    /// <summary>Watches and ends until cancelled.</summary>
    public async Task RunAsync(CancellationToken stop)
    {
        try
        {
            await api.WatchAsync("/api/v1/pods", See, stop);
        }
        catch (OperationCanceledException) when (stop.IsCancellationRequested)
        {
        }

        await Task.WhenAll(_work.Keys);
    }

    private void See(JsonElement seen)
    {
        JsonElement metadata = seen.GetProperty("object").GetProperty("metadata");
        if (seen.GetProperty("type").GetString() != "MODIFIED" || !metadata.TryGetProperty("deletionTimestamp", out _)
            || _held.ContainsKey(metadata.GetProperty("namespace").GetString()!))
        {
            return;
        }

        (string ns, string name, string uid) = (metadata.GetProperty("namespace").GetString()!, metadata.GetProperty("name").GetString()!,
            metadata.GetProperty("uid").GetString()!);
        Task task = Task.Run(() => EndAsync(ns, name, uid));
        _work.TryAdd(task, true);
        task.ContinueWith(t => _work.TryRemove(t, out _), TaskScheduler.Default);
    }

    private async Task EndAsync(string ns, string name, string uid)
    {
        try
        {
            await api.DeleteAsync($"/api/v1/namespaces/{ns}/pods/{name}",
                $$$"""{"apiVersion":"v1","kind":"DeleteOptions","gracePeriodSeconds":0,"preconditions":{"uid":"{{{uid}}}"} }""");
        }
        catch (InvalidOperationException e) when (e.Message.Contains(": 404", StringComparison.Ordinal) || e.Message.Contains(": 409", StringComparison.Ordinal))
        {
            // It is gone already.
        }
    }
}

using System.Collections.Concurrent;
using System.Globalization;
using System.Text.Json;
using DeepSpeedSharp.Operator.Benchmarks;

namespace DeepSpeedSharp.Operator.Server.Tests;

/// <summary>What is to happen to a job.</summary>
/// <param name="Name">Its name.</param>
/// <param name="Nodes">Its nodes.</param>
/// <param name="Failures">Attempts whose program fails.</param>
/// <param name="Deletions">Attempts, after those, of which somebody deletes a pod.</param>
/// <param name="MaxRestarts">Failures it survives.</param>
internal sealed record Script(string Name, int Nodes, int Failures, int Deletions, int MaxRestarts)
{
    /// <summary>Whether it fails for good.</summary>
    public bool IsHopeless => Failures > MaxRestarts;

    /// <summary>What its status has to say at the end.</summary>
    public string End => string.Create(CultureInfo.InvariantCulture,
        $"{(IsHopeless ? "Failed" : "Complete")}, attempt {(IsHopeless ? MaxRestarts + 1 : Failures + Deletions + 1)}, restarts {Math.Min(Failures, MaxRestarts)}, disruptions {(IsHopeless ? 0 : Deletions)}");
}

/// <summary>Stands in for scheduler and kubelets: pods get a machine and run, and then what the job's script says happens.</summary>
/// <param name="api">The API server, without a proxy.</param>
/// <param name="scripts">What is to happen, by the name of the job.</param>
internal sealed class ScriptedKubelet(ApiClient api, IReadOnlyDictionary<string, Script> scripts)
{
    private readonly ConcurrentDictionary<string, string> _uids = new();
    private readonly ConcurrentDictionary<(string Job, int Attempt), int> _running = new();
    private readonly ConcurrentBag<string> _twice = [];
    private readonly ConcurrentDictionary<Task, bool> _work = new();

    /// <summary>Pods that were made a second time, which never may be.</summary>
    public IReadOnlyCollection<string> Twice => _twice;

    /// <summary>Pods that were made.</summary>
    public int Made => _uids.Count;

    /// <summary>What went wrong here.</summary>
    public ConcurrentBag<string> Errors { get; } = [];

    /// <summary>Watches and acts until cancelled.</summary>
    public async Task RunAsync(CancellationToken stop)
    {
        try
        {
            await api.WatchAsync(Load.Pods, See, stop);
        }
        catch (OperationCanceledException) when (stop.IsCancellationRequested)
        {
        }

        await Task.WhenAll(_work.Keys);
    }

    private void See(JsonElement seen)
    {
        JsonElement metadata = seen.GetProperty("object").GetProperty("metadata");
        string name = metadata.GetProperty("name").GetString()!, uid = metadata.GetProperty("uid").GetString()!;
        if (!metadata.TryGetProperty("labels", out JsonElement labels) || !labels.TryGetProperty("deepspeedsharp.dev/job-name", out JsonElement job))
        {
            return;
        }

        string type = seen.GetProperty("type").GetString()!;
        if (type == "ADDED" && _uids.TryAdd(name, uid))
        {
            Script script = scripts[job.GetString()!];
            Do(() => RunPodAsync(script, int.Parse(labels.GetProperty("deepspeedsharp.dev/attempt").GetString()!, CultureInfo.InvariantCulture), name));
        }
        else if (type == "ADDED" && _uids[name] != uid)
        {
            _twice.Add(name);
        }
        else if (type == "MODIFIED" && metadata.TryGetProperty("deletionTimestamp", out _))
        {
            Do(() => EndAsync(name));
        }
    }

    private async Task RunPodAsync(Script script, int attempt, string name)
    {
        await api.PostAsync($"{Load.Pods}/{name}/binding",
            $$$"""{"apiVersion":"v1","kind":"Binding","metadata":{"name":"{{{name}}}"},"target":{"apiVersion":"v1","kind":"Node","name":"node-1"}}""");
        await StatusAsync(name, "Running", """{"running":{}}""", isReady: true);
        if (_running.AddOrUpdate((script.Name, attempt), 1, (_, n) => n + 1) == script.Nodes)
        {
            await Task.Delay(300);
            await HappenAsync(script, attempt);
        }
    }

    private async Task HappenAsync(Script script, int attempt)
    {
        if (attempt <= script.Failures)
        {
            await FinishAsync($"{script.Name}-{attempt}-{attempt % script.Nodes}", "Failed", 1);
        }
        else if (attempt <= script.Failures + script.Deletions)
        {
            await EndAsync($"{script.Name}-{attempt}-0");
        }
        else
        {
            for (int rank = 0; rank < script.Nodes; rank++)
            {
                await FinishAsync($"{script.Name}-{attempt}-{rank}", "Succeeded", 0);
            }
        }
    }

    private Task FinishAsync(string name, string phase, int exitCode) => StatusAsync(name, phase, string.Create(CultureInfo.InvariantCulture,
        $$$"""{"running":null,"terminated":{"exitCode":{{{exitCode}}},"reason":"{{{(exitCode == 0 ? "Completed" : "Error")}}}","startedAt":"{{{Now()}}}","finishedAt":"{{{Now()}}}"} }"""), isReady: false);

    private Task StatusAsync(string name, string phase, string state, bool isReady) => api.PatchAsync($"{Load.Pods}/{name}/status", $$$"""
        {"status":{"phase":"{{{phase}}}","podIP":"10.0.0.1","conditions":[{"type":"PodScheduled","status":"True"},{"type":"Ready","status":"{{{(isReady ? "True" : "False")}}}"}],
         "containerStatuses":[{"name":"trainer","ready":{{{(isReady ? "true" : "false")}}},"restartCount":0,"image":"w","imageID":"w","state":{{{state}}}}]}}
        """);

    private Task EndAsync(string name) => api.DeleteAsync($"{Load.Pods}/{name}", """{"apiVersion":"v1","kind":"DeleteOptions","gracePeriodSeconds":0}""");

    private static string Now() => TimeProvider.System.GetUtcNow().UtcDateTime.ToString("yyyy-MM-dd'T'HH:mm:ss'Z'", CultureInfo.InvariantCulture);

    private void Do(Func<Task> work)
    {
        Task task = Task.Run(async () =>
        {
            try
            {
                await work();
            }
            catch (InvalidOperationException e) when (e.Message.Contains(": 404", StringComparison.Ordinal) || e.Message.Contains(": 409", StringComparison.Ordinal))
            {
                // The pod is gone, as those of an attempt that is over.
            }
            catch (Exception e) when (e is InvalidOperationException or HttpRequestException)
            {
                Errors.Add(e.Message);
            }
        });
        _work.TryAdd(task, true);
        task.ContinueWith(t => _work.TryRemove(t, out _), TaskScheduler.Default);
    }
}

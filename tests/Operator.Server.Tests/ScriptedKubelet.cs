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

    /// <summary>The job.</summary>
    public string Job => string.Create(CultureInfo.InvariantCulture, $$$"""
        {"apiVersion":"deepspeedsharp.dev/v1alpha1","kind":"DeepSpeedJob","metadata":{"name":"{{{Name}}}"},
         "spec":{"image":"w","numNodes":{{{Nodes}}},"progress":{"mode":"None"},
          "restart":{"maxRestarts":{{{MaxRestarts}}},"backoffSeconds":1,"backoffMaxSeconds":2} } }
        """);

    /// <summary>What the status of each job says, as far as <see cref="End"/> goes.</summary>
    public static async Task<IReadOnlyDictionary<string, string>> EndsAsync(ApiClient api) =>
        (await api.GetAsync(Load.Jobs)).GetProperty("items").EnumerateArray().ToDictionary(
            j => j.GetProperty("metadata").GetProperty("name").GetString()!,
            j => j.TryGetProperty("status", out JsonElement s) && s.TryGetProperty("phase", out JsonElement phase)
                ? $"{phase.GetString()}, attempt {s.GetProperty("attempt")}, restarts {s.GetProperty("restarts")}, disruptions {s.GetProperty("disruptions")}" : "");

    /// <summary>What its status has to say at the end.</summary>
    public string End => string.Create(CultureInfo.InvariantCulture,
        $"{(IsHopeless ? "Failed" : "Complete")}, attempt {(IsHopeless ? MaxRestarts + 1 : Failures + Deletions + 1)}, restarts {Math.Min(Failures, MaxRestarts)}, disruptions {(IsHopeless ? 0 : Deletions)}");
}

/// <summary>Stands in for scheduler and kubelets: pods get a machine and run, and then what the job's script says happens.</summary>
/// <param name="api">The API server, without a proxy.</param>
/// <param name="scripts">What is to happen, by the name of the job.</param>
internal sealed class ScriptedKubelet(ApiClient api, IReadOnlyDictionary<string, Script> scripts)
{
    private readonly Kubelet _kubelet = new(api, Load.Namespace);
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
        string type = seen.GetProperty("type").GetString()!;
        if (type == "BOOKMARK")
        {
            return;
        }

        JsonElement metadata = seen.GetProperty("object").GetProperty("metadata");
        string name = metadata.GetProperty("name").GetString()!, uid = metadata.GetProperty("uid").GetString()!;
        if (!metadata.TryGetProperty("labels", out JsonElement labels) || !labels.TryGetProperty("deepspeedsharp.dev/job-name", out JsonElement job))
        {
            return;
        }

        if (type == "ADDED" && _uids.TryAdd(name, uid))
        {
            // What was seen is gone when the work begins.
            Script script = scripts[job.GetString()!];
            int attempt = int.Parse(labels.GetProperty("deepspeedsharp.dev/attempt").GetString()!, CultureInfo.InvariantCulture);
            Do(() => RunPodAsync(script, attempt, name));
        }
        else if (type == "ADDED" && _uids[name] != uid)
        {
            _twice.Add(name);
        }
        else if (type == "MODIFIED" && metadata.TryGetProperty("deletionTimestamp", out _))
        {
            Do(() => _kubelet.RemoveAsync(name));
        }
    }

    private async Task RunPodAsync(Script script, int attempt, string name)
    {
        await _kubelet.RunAsync(name);
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
            await _kubelet.FinishAsync($"{script.Name}-{attempt}-{attempt % script.Nodes}", 1);
        }
        else if (attempt <= script.Failures + script.Deletions)
        {
            await _kubelet.RemoveAsync($"{script.Name}-{attempt}-0");
        }
        else
        {
            for (int rank = 0; rank < script.Nodes; rank++)
            {
                await _kubelet.FinishAsync($"{script.Name}-{attempt}-{rank}", 0);
            }
        }
    }

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

using System.Globalization;
using System.Text.Json.Nodes;
using DeepSpeedSharp.Operator.Tests.FakeCluster;

namespace DeepSpeedSharp.Operator.Tests.Chaos;

/// <summary>What happened last, for whoever looks for the cause of a broken promise: a seed repeats a run only roughly.</summary>
internal sealed class Diary
{
    private const int Kept = 3000;
    private const int Told = 60;
    private readonly Lock _lock = new();
    private readonly Queue<string> _lines = [];

    /// <summary>Notes a change of an object.</summary>
    /// <param name="now">When it happened.</param>
    /// <param name="change">The change.</param>
    public void Note(DateTimeOffset now, StoreChange change)
    {
        if (change.Plural == "events")
        {
            return;
        }

        JsonObject it = (change.After ?? change.Before)!;
        string how = change.Plural switch
        {
            "pods" when SeenPod.Read(it) is { } pod => $"{pod.Phase} {pod.ExitCode}{(pod.DeletedAt is null ? "" : " ending")}{(pod.Machine is null ? "" : $" on {pod.Machine}")}",
            "deepspeedjobs" when new SeenJob(it) is { } job => string.Create(CultureInfo.InvariantCulture,
                $"generation {job.Generation} attempt {job.Attempt} {job.Phase} created {job.Count("createdAttempt")} nodes {job.Status?["nodes"]?.ToJsonString()} succeeded [{job.Status?["succeededNodes"]}] {job.Time("lastStartTime"):HH:mm:ss}"),
            "leases" => (string?)it["spec"]?["holderIdentity"] ?? "",
            "nodes" => (string?)SeenPod.ConditionOf(it["status"], "Ready")?["status"] ?? "",
            _ => "",
        };
        Note($"{now:HH:mm:ss.fff} {change.Client ?? "-"} {change.Verb ?? "change"}{(change.After is null ? " (gone)" : "")} {change.Plural}/{it["metadata"]!["name"]} {how}");
    }

    /// <summary>Notes something else.</summary>
    /// <param name="line">What happened.</param>
    public void Note(string line)
    {
        lock (_lock)
        {
            _lines.Enqueue(line);
            if (_lines.Count > Kept)
            {
                _lines.Dequeue();
            }
        }
    }

    /// <summary>The last lines about the job that a message speaks of.</summary>
    /// <param name="message">The message.</param>
    public string About(string message)
    {
        lock (_lock)
        {
            string[] others = [.. ChaosJobs.All.Select(j => j.Name).Where(name => !message.Contains(name, StringComparison.Ordinal))];
            return string.Join('\n', _lines.Where(line => !others.Any(name => line.Contains($"/{name}", StringComparison.Ordinal))).TakeLast(Told));
        }
    }
}

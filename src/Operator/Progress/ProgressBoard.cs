using System.Collections.Concurrent;

namespace DeepSpeedSharp.Operator.Progress;

/// <summary>What is known of a job's training.</summary>
/// <param name="Uid">Identity of the job object.</param>
/// <param name="Attempt">The attempt that spoke.</param>
/// <param name="Report">The latest report of rank 0.</param>
/// <param name="MovedAt">When it first told of its step.</param>
/// <param name="NodeSteps">Step of each node, asked when training does not move; null for one that did not answer.</param>
internal sealed record BoardEntry(
    string Uid, int Attempt, ProgressReport? Report, DateTimeOffset? MovedAt, IReadOnlyDictionary<int, long?> NodeSteps);

/// <summary>The latest reports of each job.</summary>
internal sealed class ProgressBoard
{
    private static readonly Dictionary<int, long?> Nobody = [];
    private readonly ConcurrentDictionary<string, BoardEntry> _latest = new();

    /// <summary>What is known of a job in an attempt, or null.</summary>
    public BoardEntry? Latest(string key, string uid, int attempt) =>
        _latest.TryGetValue(key, out BoardEntry? entry) && entry.Uid == uid && entry.Attempt == attempt ? entry : null;

    /// <summary>Notes a report of rank 0.</summary>
    /// <param name="key">Namespace and name of the job.</param>
    /// <param name="uid">Identity of the job object.</param>
    /// <param name="attempt">The attempt that was asked.</param>
    /// <param name="report">What it said.</param>
    /// <param name="now">The time.</param>
    /// <returns>Whether it differs from the one before.</returns>
    public bool Note(string key, string uid, int attempt, ProgressReport report, DateTimeOffset now)
    {
        BoardEntry? before = Latest(key, uid, attempt);
        bool moved = before?.Report?.Step != report.Step;
        _latest[key] = new BoardEntry(uid, attempt, report, moved ? now : before!.MovedAt, moved ? Nobody : before!.NodeSteps);
        return before?.Report != report;
    }

    /// <summary>Notes the steps of all nodes. One that has answered since training stopped moving is not stuck itself, even when it
    /// answers too late another time, as on a machine with much to do.</summary>
    /// <param name="key">Namespace and name of the job.</param>
    /// <param name="uid">Identity of the job object.</param>
    /// <param name="attempt">The attempt that was asked.</param>
    /// <param name="steps">Step of each node; null for one that did not answer.</param>
    public void Note(string key, string uid, int attempt, IReadOnlyDictionary<int, long?> steps)
    {
        BoardEntry entry = Latest(key, uid, attempt) ?? new BoardEntry(uid, attempt, null, null, Nobody);
        _latest[key] = entry with { NodeSteps = steps.ToDictionary(s => s.Key, s => s.Value ?? entry.NodeSteps.GetValueOrDefault(s.Key)) };
    }

    /// <summary>Forgets a job.</summary>
    public void Forget(string key) => _latest.TryRemove(key, out _);
}

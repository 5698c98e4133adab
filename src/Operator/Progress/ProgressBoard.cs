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

    /// <summary>Notes the steps of all nodes.</summary>
    /// <param name="key">Namespace and name of the job.</param>
    /// <param name="uid">Identity of the job object.</param>
    /// <param name="attempt">The attempt that was asked.</param>
    /// <param name="steps">Step of each node; null for one that did not answer.</param>
    public void Note(string key, string uid, int attempt, IReadOnlyDictionary<int, long?> steps) =>
        _latest[key] = (Latest(key, uid, attempt) ?? new BoardEntry(uid, attempt, null, null, Nobody)) with { NodeSteps = steps };

    /// <summary>Forgets a job.</summary>
    public void Forget(string key) => _latest.TryRemove(key, out _);
}

using System.Collections.Concurrent;

namespace DeepSpeedSharp.Operator.Progress;

/// <summary>The latest report of each job.</summary>
internal sealed class ProgressBoard
{
    private readonly ConcurrentDictionary<string, (string Uid, ProgressReport Report)> _latest = new();

    /// <summary>The latest report of a job, or null.</summary>
    public ProgressReport? Latest(string key, string uid) =>
        _latest.TryGetValue(key, out (string Uid, ProgressReport Report) entry) && entry.Uid == uid ? entry.Report : null;

    /// <summary>Notes a report.</summary>
    /// <returns>Whether it differs from the one before.</returns>
    public bool Note(string key, string uid, ProgressReport report)
    {
        ProgressReport? before = Latest(key, uid);
        _latest[key] = (uid, report);
        return before != report;
    }

    /// <summary>Forgets a job.</summary>
    public void Forget(string key) => _latest.TryRemove(key, out _);
}

using DeepSpeedSharp.Operator.Planning;

namespace DeepSpeedSharp.Operator.Tests.Chaos;

/// <summary>What may be wrong for a moment, because writes that say little wait for others.</summary>
/// <param name="expect">Notes a broken promise.</param>
internal sealed class Patience(Action<bool, string> expect)
{
    // Times are in whole seconds, and a pass may have to wait for a retry.
    private static readonly TimeSpan Slack = TimeSpan.FromSeconds(3);
    private static readonly TimeSpan Lag = TimeSpan.FromSeconds(6);

    // Writes in a row right before which something happened that they do not tell yet.
    private const int MostUnlucky = 4;
    private readonly Dictionary<string, Wrong> _wrong = [];

    /// <summary>The time.</summary>
    public DateTimeOffset Now { get; set; }

    /// <summary>Forgets what was seen: for a while nobody looked.</summary>
    public void Reset() => _wrong.Clear();

    /// <summary>Expects that something is so, or becomes so soon.</summary>
    /// <param name="job">The job.</param>
    /// <param name="what">What is wrong otherwise.</param>
    /// <param name="holds">Whether it is so.</param>
    /// <param name="why">All about the job.</param>
    public void Soon(SeenJob job, string what, bool holds, string why)
    {
        string key = $"{job.Uid} {what}";
        if (holds)
        {
            _wrong.Remove(key);
            return;
        }

        // What was not looked at in between may have been right. So may what was written in between, and more has happened since.
        string written = $"{job.Status}";
        Wrong wrong = _wrong.TryGetValue(key, out Wrong? known) && Now - known.Last < Slack
            ? known with { Last = Now, Status = written, AsWritten = known.Status == written ? known.AsWritten : Now } : new Wrong(Now, Now, Now, written);
        _wrong[key] = wrong;
        expect(Now - wrong.AsWritten < Lag + StatusPace.Longest && Now - wrong.Since < Lag + MostUnlucky * StatusPace.Longest, $"{what}: {why}");
    }

    // Something that is wrong: since when, whenever it was written; since when in the status that is there; and when it was seen last.
    private sealed record Wrong(DateTimeOffset Since, DateTimeOffset AsWritten, DateTimeOffset Last, string Status);
}

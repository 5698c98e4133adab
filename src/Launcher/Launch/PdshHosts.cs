using System.Globalization;
using System.Text.RegularExpressions;
using DeepSpeedSharp.Config;

namespace DeepSpeedSharp.Launcher.Launch;

/// <summary>What pdsh tells in its output of its hosts: whose commands failed while the others still run, and the launchers of all.</summary>
/// <remarks>pdsh alone waits for every host, and ranks that lost one of theirs would wait for it too.</remarks>
internal sealed partial class PdshHosts
{
    private readonly TaskCompletionSource _seen = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly List<(string Host, int Code)> _failures = [];
    private readonly Dictionary<string, int> _launchers = [];

    /// <summary>Completes at the first failure.</summary>
    public Task Seen => _seen.Task;

    /// <summary>The failure that the others follow from; null when there is none.</summary>
    public (string Host, int Code)? Cause
    {
        get
        {
            lock (_failures)
            {
                return _failures.Count == 0 ? null : _failures.OrderBy(f => f.Code == ExitCodes.PeerLost).First();
            }
        }
    }

    /// <summary>Whether the cause itself is known, and not only who lost it.</summary>
    public bool HasCause => Cause is { } cause && cause.Code != ExitCodes.PeerLost;

    /// <summary>Process ids of the launchers that have told theirs, by host.</summary>
    public IReadOnlyList<KeyValuePair<string, int>> Launchers
    {
        get
        {
            lock (_failures)
            {
                return [.. _launchers];
            }
        }
    }

    /// <summary>Takes in a line of pdsh.</summary>
    public void Read(string line)
    {
        int word = line.IndexOf($": {Heartbeat.Word}", StringComparison.Ordinal);
        if (word > 0 && int.TryParse(line[(word + 2 + Heartbeat.Word.Length)..], NumberStyles.None, CultureInfo.InvariantCulture, out int process))
        {
            lock (_failures)
            {
                _launchers[line[..word]] = process;
            }

            return;
        }

        if (Line().Match(line) is not { Success: true } match
            || !int.TryParse(match.Groups["code"].Value, NumberStyles.None, CultureInfo.InvariantCulture, out int code))
        {
            return;
        }

        lock (_failures)
        {
            _failures.Add((match.Groups["host"].Value, code));
        }

        _seen.TrySetResult();
    }

    [GeneratedRegex(@"^pdsh@\S+: (?<host>\S+): ssh exited with exit code (?<code>[0-9]+)$")]
    private static partial Regex Line();
}

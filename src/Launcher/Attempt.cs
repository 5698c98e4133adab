using DeepSpeedSharp.Config;

namespace DeepSpeedSharp.Launcher;

/// <summary>How an attempt ended.</summary>
/// <param name="Failed">The node whose failure ended it; null when none failed.</param>
/// <param name="IsStopped">Whether a signal ended it.</param>
internal sealed record AttemptEnd(NodeProcess? Failed, bool IsStopped);

/// <summary>One start of the whole job: follows its nodes until all have ended.</summary>
/// <param name="nodes">The running nodes.</param>
/// <param name="grace">Time a node gets to save a checkpoint when it is ended.</param>
/// <param name="stop">The user's wish to stop.</param>
/// <param name="console">Where to report.</param>
internal sealed class Attempt(IReadOnlyList<NodeProcess> nodes, TimeSpan grace, StopSignals stop, RunConsole console)
{
    // A rank that fails breaks its connections a moment before its process ends.
    private static readonly TimeSpan Settle = TimeSpan.FromSeconds(3);
    private static readonly TimeSpan EndAfterKill = TimeSpan.FromSeconds(10);

    /// <summary>Waits for the end of all nodes; one failure, or a signal, ends the others.</summary>
    /// <returns>How it ended; every process is gone, unless that was reported.</returns>
    public async Task<AttemptEnd> RunAsync()
    {
        if (await FirstFailureAsync() is { } first)
        {
            NodeProcess failed = await CauseAsync(first);
            Report(failed);
            await EndAsync();
            return new AttemptEnd(failed, IsStopped: false);
        }

        List<NodeProcess> running = Running();
        if (running.Count == 0)
        {
            return new AttemptEnd(null, IsStopped: false);
        }

        console.Say($"{stop.Name}: asking {Names(running)} to save and stop "
            + $"(at most {grace.TotalSeconds:0} s; a second signal ends them at once)");
        await EndAsync();
        foreach (NodeProcess node in running.Where(n => n.HasFailed && n.Exit.Result != ExitCodes.Terminated))
        {
            string code = ExitCodeText.Describe(node.Exit.Result);
            console.Problem($"{node.Node.FullName} ended with {code} while stopping");
        }

        return new AttemptEnd(null, IsStopped: true);
    }

    private List<NodeProcess> Running() => [.. nodes.Where(node => !node.Exit.IsCompleted)];

    private async Task<NodeProcess?> FirstFailureAsync()
    {
        while (!stop.IsRequested)
        {
            if (nodes.FirstOrDefault(node => node.HasFailed) is { } failed)
            {
                return failed;
            }

            List<NodeProcess> running = Running();
            if (running.Count == 0)
            {
                break;
            }

            await Task.WhenAny([stop.Requested, .. running.Select(node => node.Exit)]);
        }

        return null;
    }

    // "Peer lost" is what the others of a failed rank end with, so wait a moment for the rank they lost.
    private async Task<NodeProcess> CauseAsync(NodeProcess first)
    {
        Task settled = Task.Delay(Settle);
        while (!settled.IsCompleted && !stop.IsRequested
            && Failures().All(IsConsequence) && Running() is { Count: > 0 } running)
        {
            await Task.WhenAny([settled, stop.Requested, .. running.Select(node => node.Exit)]);
        }

        return Failures().OrderBy(IsConsequence).ThenBy(node => node.EndedAt).FirstOrDefault(first);
    }

    private IEnumerable<NodeProcess> Failures() => nodes.Where(node => node.HasFailed);

    private static bool IsConsequence(NodeProcess node) => node.Exit.Result == ExitCodes.PeerLost;

    private void Report(NodeProcess failed)
    {
        IReadOnlyList<string> last = failed.LastLines;
        string log = failed.LogPath is { } path ? $" ({RunFolder.Show(path)})" : "";
        string lines = last.Count switch
        {
            0 => $"it printed nothing{log}",
            1 => $"its last line{log}:",
            _ => $"its last {last.Count} lines{log}:",
        };
        console.Problem($"{failed.Node.FullName} failed with {ExitCodeText.Describe(failed.Exit.Result)}; {lines}",
            last.Select(line => $"  | {line}"));
    }

    private async Task EndAsync()
    {
        List<NodeProcess> running = Running();
        if (running.Count == 0)
        {
            return;
        }

        running.ForEach(node => node.Terminate());
        Task ended = Task.WhenAll(running.Select(node => node.Exit));
        await Task.WhenAny(ended, stop.Insisted, Task.Delay(grace));
        if (ended.IsCompleted)
        {
            return;
        }

        List<NodeProcess> late = Running();
        console.Problem(stop.Insisted.IsCompleted ? $"killing {Names(late)}"
            : $"{Names(late)} did not end within {grace.TotalSeconds:0} s after SIGTERM; killing");
        late.ForEach(node => node.Kill());
        await Task.WhenAny(ended, Task.Delay(EndAfterKill));
        if (!ended.IsCompleted)
        {
            console.Problem($"{Names(Running())} did not end within {EndAfterKill.TotalSeconds:0} s after SIGKILL; "
                + "a device or file system may hang");
        }
    }

    private static string Names(List<NodeProcess> some)
    {
        const int Most = 8;
        string names = string.Join(", ", some.Take(Most).Select(node => node.Node.Label));
        return some.Count > Most ? $"{names} and {some.Count - Most} more" : names;
    }
}

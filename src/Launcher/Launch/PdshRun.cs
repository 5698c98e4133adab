using DeepSpeedSharp.Config;

namespace DeepSpeedSharp.Launcher.Launch;

/// <summary>Follows a running pdsh; the first host that fails ends all of them.</summary>
/// <param name="pdsh">The process.</param>
/// <param name="failures">What its output told of failures.</param>
/// <param name="stop">The user's wish to stop.</param>
/// <param name="console">Where to report.</param>
internal sealed class PdshRun(NodeProcess pdsh, PdshFailures failures, StopSignals stop, RunConsole console)
{
    // A rank that fails breaks its connections to other hosts a moment before its own host reports it.
    private static readonly TimeSpan Settle = TimeSpan.FromSeconds(3);
    private static readonly TimeSpan EndAfterKill = TimeSpan.FromSeconds(10);

    /// <summary>Waits for the end.</summary>
    /// <returns>0, the exit code of the first failure, or <see cref="ExitCodes.Stopped"/> after a signal.</returns>
    public async Task<int> RunAsync()
    {
        await Task.WhenAny(pdsh.Exit, failures.Seen, stop.Requested);
        if (failures.Cause is not null)
        {
            Task settled = Task.Delay(Settle);
            while (!failures.HasCause && !settled.IsCompleted && !pdsh.Exit.IsCompleted)
            {
                await Task.WhenAny(settled, pdsh.Exit, Task.Delay(TimeSpan.FromMilliseconds(50)));
            }
        }

        bool isEnded = pdsh.Exit.IsCompleted;
        if (!isEnded)
        {
            // The launchers of the hosts lose their input with it, and let their ranks save before they end.
            console.Say(failures.Cause is null ? $"{stop.Name}: ending every host" : "ending the other hosts");
            pdsh.Kill();
            await Task.WhenAny(pdsh.Exit, Task.Delay(EndAfterKill));
        }

        if (failures.Cause is { } cause)
        {
            console.Problem($"host {cause.Host} failed with {ExitCodeText.Describe(cause.Code)}; see its lines above");
            return cause.Code;
        }

        if (!isEnded)
        {
            return ExitCodes.Stopped;
        }

        int code = await pdsh.Exit;
        if (code != ExitCodes.Done)
        {
            console.Problem($"pdsh failed with {ExitCodeText.Describe(code)}; its last lines:",
                pdsh.LastLines.Select(line => $"  | {line}"));
        }

        return code;
    }
}

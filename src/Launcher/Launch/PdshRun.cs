using DeepSpeedSharp.Config;

namespace DeepSpeedSharp.Launcher.Launch;

/// <summary>Follows a running pdsh; the first host that fails ends all of them.</summary>
/// <param name="pdsh">The process.</param>
/// <param name="hosts">What its output told of its hosts.</param>
/// <param name="ask">Runs a command on a host.</param>
/// <param name="stop">The user's wish to stop.</param>
/// <param name="console">Where to report.</param>
internal sealed class PdshRun(NodeProcess pdsh, PdshHosts hosts, Func<string, string, SshAnswer> ask, StopSignals stop, RunConsole console)
{
    // A rank that fails breaks its connections to other hosts a moment before its own host reports it.
    private static readonly TimeSpan Settle = TimeSpan.FromSeconds(3);
    private static readonly TimeSpan EndAfterKill = TimeSpan.FromSeconds(10);

    /// <summary>Waits for the end.</summary>
    /// <returns>0, the exit code of the first failure, or <see cref="ExitCodes.Stopped"/> after a signal.</returns>
    public async Task<int> RunAsync()
    {
        await Task.WhenAny(pdsh.Exit, hosts.Seen, stop.Requested);
        if (hosts.Cause is not null)
        {
            Task settled = Task.Delay(Settle);
            while (!hosts.HasCause && !settled.IsCompleted && !pdsh.Exit.IsCompleted)
            {
                await Task.WhenAny(settled, pdsh.Exit, Task.Delay(TimeSpan.FromMilliseconds(50)));
            }
        }

        bool isEnded = pdsh.Exit.IsCompleted;
        if (!isEnded)
        {
            console.Say(hosts.Cause is null ? $"{stop.Name}: asking every host to save and stop "
                + $"(at most {FrontEnd.Grace.TotalSeconds:0} s; a second signal ends them at once)" : "ending the other hosts");
            await EndAsync();
        }

        if (hosts.Cause is { } cause && !(stop.IsRequested && cause.Code == ExitCodes.Stopped))
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

    // pdsh stays until its hosts have ended, so that their last lines are seen. Without it, their launchers lose their
    // input, and end their ranks by themselves.
    private async Task EndAsync()
    {
        if (hosts.Launchers.Count > 0)
        {
            Signal();
            await Task.WhenAny(pdsh.Exit, stop.Insisted, Task.Delay(FrontEnd.Grace));
            if (!pdsh.Exit.IsCompleted && stop.Insisted.IsCompleted)
            {
                console.Problem("killing the ranks of every host");
                Signal();
                await Task.WhenAny(pdsh.Exit, Task.Delay(EndAfterKill));
            }
        }

        if (!pdsh.Exit.IsCompleted)
        {
            pdsh.Kill();
            await Task.WhenAny(pdsh.Exit, Task.Delay(EndAfterKill));
        }
    }

    // To the launchers, what a user's own signal is: the first lets ranks save, the second ends them at once.
    private void Signal()
    {
        foreach ((string host, int process) in hosts.Launchers)
        {
            _ = Task.Run(() => ask(host, $"kill -TERM {process}"));
        }
    }
}

namespace DeepSpeedSharp.Launcher;

/// <summary>Decides after a failure whether everything starts again, says so, and waits the pause before it.</summary>
/// <param name="limit">How many failures a run survives.</param>
/// <param name="limitName">What the user calls that number.</param>
/// <param name="console">Where to report.</param>
internal sealed class Restarts(int limit, string limitName, RunConsole console)
{
    /// <summary>How many failures a run survives.</summary>
    public int Limit => limit;

    /// <summary>Asks for another start.</summary>
    /// <param name="exitCode">Exit code of the failure.</param>
    /// <param name="done">Restarts so far.</param>
    /// <param name="stop">The user's wish to stop, which ends the pause too.</param>
    public async Task<bool> MayAsync(int exitCode, int done, StopSignals stop)
    {
        if (stop.IsRequested)
        {
            return false;
        }

        if (!RestartPolicy.CanHelp(exitCode))
        {
            console.Say($"not starting again: {ExitCodeText.Describe(exitCode)} needs a correction first");
            return false;
        }

        if (done >= limit)
        {
            console.Say(limit == 0 ? $"not starting again: {limitName} is 0" : $"giving up: {limitName} allows {limit}");
            return false;
        }

        TimeSpan pause = RestartPolicy.Pause(done + 1);
        console.Say($"restart {done + 1} of {limit} in {pause.TotalSeconds:0} s");
        await Task.WhenAny(Task.Delay(pause), stop.Requested);
        return !stop.IsRequested;
    }
}

namespace DeepSpeedSharp.Launcher.Launch;

/// <summary>Tells the launcher of a node that its front end is gone, so that no rank stays behind.</summary>
internal sealed class LifelineWatch : IDisposable
{
    private static readonly TimeSpan Period = TimeSpan.FromMilliseconds(500);
    private const string Reason = "the loss of the front end";
    private readonly CancellationTokenSource _end = new();

    private LifelineWatch()
    {
    }

    /// <summary>Starts to watch; null when there is nothing to watch.</summary>
    public static LifelineWatch? Start(Lifeline lifeline, StopSignals stop)
    {
        if (lifeline == Lifeline.None)
        {
            return null;
        }

        var watch = new LifelineWatch();
        _ = lifeline == Lifeline.Input ? WatchInputAsync(stop) : WatchOutputAsync(stop, watch._end.Token);
        return watch;
    }

    /// <summary>Ends the watch.</summary>
    public void Dispose()
    {
        _end.Cancel();
        _end.Dispose();
    }

    private static async Task WatchInputAsync(StopSignals stop)
    {
        // The read itself may block its thread for the whole run.
        await Task.Run(() =>
        {
            using Stream input = Console.OpenStandardInput();
            var nothing = new byte[256];
            while (input.Read(nothing) > 0)
            {
            }
        });
        stop.Request(Reason);
    }

    private static async Task WatchOutputAsync(StopSignals stop, CancellationToken end)
    {
        using var timer = new PeriodicTimer(Period);
        try
        {
            while (await timer.WaitForNextTickAsync(end))
            {
                if (Libc.IsBroken(descriptor: 1))
                {
                    stop.Request(Reason);
                    return;
                }
            }
        }
        catch (OperationCanceledException)
        {
        }
    }
}

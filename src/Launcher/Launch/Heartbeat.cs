using System.Diagnostics;

namespace DeepSpeedSharp.Launcher.Launch;

/// <summary>How the launcher of a node notices that nothing of what it sends arrives any more, as after a cut in the network,
/// when neither side ever sees its connection close.</summary>
/// <remarks>
/// It sends a word every few seconds, which front ends do not show, and looks in the kernel's table whether the connection of
/// its sshd gets acknowledgements for what it sent. A front end that was only suspended still acknowledges, so that Ctrl-Z
/// ends no training. The other direction needs no help: ssh itself asks whether the host is there.
/// </remarks>
internal static class Heartbeat
{
    /// <summary>How what is sent begins: with a control character that no program prints. The process id follows.</summary>
    public const string Word = "\u0016deepspeed-alive ";

    /// <summary>Time without acknowledgement after which the front end counts as lost.</summary>
    public static readonly TimeSpan Longest = TimeSpan.FromSeconds(20);

    private static readonly TimeSpan Pulse = TimeSpan.FromSeconds(5);
    private static readonly TimeSpan Poll = TimeSpan.FromSeconds(1);

    /// <summary>Whether a line of a node's launcher is no more than its heartbeat. pdsh writes the host's name in front.</summary>
    public static bool Is(string line) => line.Contains(Word, StringComparison.Ordinal);

    /// <summary>Sends, and asks to stop when nothing arrives any more.</summary>
    /// <param name="connection">Value of SSH_CONNECTION; null where there is no sshd.</param>
    /// <param name="stop">Where to ask.</param>
    /// <param name="console">Where to send.</param>
    public static void Watch(string? connection, StopSignals stop, RunConsole console)
    {
        _ = SendAsync(stop, console);
        if (SshConnection.Parse(connection) is { } ends)
        {
            _ = LookAsync(ends, stop, console);
        }
    }

    private static async Task SendAsync(StopSignals stop, RunConsole console)
    {
        while (!stop.IsRequested)
        {
            // On a thread of its own: it may block for ever, once nothing takes what was written before.
            await Task.Factory.StartNew(() => console.Detail($"{Word}{Environment.ProcessId}"), CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default);
            await Task.WhenAny(Task.Delay(Pulse), stop.Requested);
        }
    }

    private static async Task LookAsync(SshConnection ends, StopSignals stop, RunConsole console)
    {
        long? since = null;
        while (!stop.IsRequested)
        {
            since = ends.IsRetransmitting() ? since ?? Stopwatch.GetTimestamp() : null;
            if (since is { } begin && Stopwatch.GetElapsedTime(begin) > Longest)
            {
                // Nobody reads it, and a full connection would hold up the end of the ranks.
                console.Mute();
                stop.Request($"the loss of the front end, which acknowledged nothing for {Longest.TotalSeconds:0} s");
                return;
            }

            await Task.WhenAny(Task.Delay(Poll), stop.Requested);
        }
    }
}

using System.Diagnostics;
using System.Globalization;

namespace DeepSpeedSharp.Launcher;

/// <summary>A second process of this program that outlives the launcher and leaves no worker behind.</summary>
/// <remarks>
/// When the launcher dies, however it dies, the guard's input ends. It then does what the launcher would have done:
/// SIGTERM, the grace period, SIGKILL for the rest. The kernel's own signal at the death of a parent (prctl) is no way
/// to do this: a parent with several threads sends it once per thread, and a worker takes the second SIGTERM as an
/// order to end without saving.
/// </remarks>
internal sealed class ChildGuard : IDisposable
{
    /// <summary>First argument that selects this mode.</summary>
    public const string Mode = "guard-children";

    private static readonly TimeSpan Poll = TimeSpan.FromMilliseconds(100);
    private static readonly TimeSpan EndOfGuard = TimeSpan.FromSeconds(5);
    private readonly Process _process;

    private ChildGuard(Process process) => _process = process;

    /// <summary>Starts the guard.</summary>
    /// <param name="grace">Time workers get to save a checkpoint after the launcher's death.</param>
    public static ChildGuard Start(TimeSpan grace)
    {
        ProcessStartInfo start = ThisProgram.StartInfo(
            [Mode, ((int)grace.TotalSeconds).ToString(CultureInfo.InvariantCulture)]);
        start.RedirectStandardInput = true;
        return new ChildGuard(Process.Start(start)!);
    }

    /// <summary>Adds a worker.</summary>
    public void Watch(ProcessSession session)
    {
        try
        {
            _process.StandardInput.WriteLine(session);
            _process.StandardInput.Flush();
        }
        catch (IOException)
        {
            // Somebody killed the guard. The run is as good as before, only less well guarded.
        }
    }

    /// <summary>Lets the guard go; it ends at once when no worker is left.</summary>
    public void Dispose()
    {
        try
        {
            _process.StandardInput.Dispose();
        }
        catch (IOException)
        {
        }

        _process.WaitForExit(EndOfGuard);
        _process.Dispose();
    }

    /// <summary>What the guard's process does.</summary>
    /// <param name="args">The grace period in seconds.</param>
    /// <returns>Exit code 0.</returns>
    public static async Task<int> RunAsync(string[] args)
    {
        Libc.NewSession();
        var grace = TimeSpan.FromSeconds(int.Parse(args[0], CultureInfo.InvariantCulture));
        var sessions = new List<ProcessSession>();
        while (await Console.In.ReadLineAsync() is { } line)
        {
            sessions.Add(ProcessSession.Parse(line));
        }

        sessions.ForEach(session => session.Terminate());
        long begin = Stopwatch.GetTimestamp();
        while (sessions.Any(s => s.HasLeader) && Stopwatch.GetElapsedTime(begin) < grace)
        {
            await Task.Delay(Poll);
        }

        sessions.ForEach(session => session.Kill());
        return 0;
    }
}

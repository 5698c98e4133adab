using System.Diagnostics;
using DeepSpeedSharp.Launcher.Launch;

namespace DeepSpeedSharp.Launcher;

/// <summary>The process that stands in for a pod.</summary>
internal sealed class NodeProcess
{
    private static readonly TimeSpan EndOfOutput = TimeSpan.FromSeconds(10);
    private static readonly TimeSpan EndOfLauncher = TimeSpan.FromSeconds(5);
    private readonly Process _process;
    private readonly ProcessSession _session;
    private readonly NodeOutput _output;
    private readonly RunConsole _console;
    private bool _hasLauncher;
    private long _endedAt;

    private NodeProcess(LaunchNode node, Process process, ProcessSession session, NodeOutput output, RunConsole console)
    {
        (Node, _process, _session, _output, _console) = (node, process, session, output, console);
        Exit = FollowAsync();
    }

    /// <summary>What it was started from.</summary>
    public LaunchNode Node { get; }

    /// <summary>Its exit code, once it and all it started have ended and the log is complete.</summary>
    public Task<int> Exit { get; }

    /// <summary>When it ended, in ticks of <see cref="Stopwatch"/>; 0 while it runs.</summary>
    public long EndedAt => Volatile.Read(ref _endedAt);

    /// <summary>Whether it ended with an exit code other than 0.</summary>
    public bool HasFailed => Exit.IsCompletedSuccessfully && Exit.Result != 0;

    /// <summary>What it printed last.</summary>
    public IReadOnlyList<string> LastLines => _output.LastLines;

    /// <summary>Its log file; null when it has none.</summary>
    public string? LogPath => _output.LogPath;

    /// <summary>Starts a node.</summary>
    /// <param name="node">What to start.</param>
    /// <param name="program">File of the program.</param>
    /// <param name="logPath">File for its complete output; null for none.</param>
    /// <param name="console">Where its lines are shown.</param>
    /// <param name="guard">Sees to its end when the launcher dies.</param>
    /// <param name="hasLauncher">Whether it leads to the launcher of another host, which takes words from its input.</param>
    /// <param name="onLine">Reads each line too.</param>
    public static NodeProcess Start(
        LaunchNode node, string program, string? logPath, RunConsole console, ChildGuard guard,
        bool hasLauncher = false, Action<string>? onLine = null)
    {
        ProcessStartInfo start = ThisProgram.StartInfo(ChildExec.Arguments(program, node.CommandLine));
        (start.RedirectStandardInput, start.RedirectStandardOutput, start.RedirectStandardError) = (true, true, true);
        start.Environment.Clear();
        foreach ((string name, string value) in node.Environment)
        {
            start.Environment[name] = value;
        }

        var output = new NodeOutput(node, logPath, console, onLine);
        Process process = Process.Start(start)!;
        ProcessSession session = ProcessSession.Of(process.Id);
        guard.Watch(session);
        if (!hasLauncher)
        {
            process.StandardInput.Close();
        }

        return new NodeProcess(node, process, session, output, console) { _hasLauncher = hasLauncher };
    }

    /// <summary>Asks the program to save and end.</summary>
    public void Terminate()
    {
        if (!_hasLauncher)
        {
            _session.Terminate();
        }
        else if (!TryWrite(Lifeline.Stop))
        {
            _session.Kill();
        }
    }

    /// <summary>Ends the program and everything it started, also on another host.</summary>
    public void Kill()
    {
        if (_hasLauncher && TryWrite(Lifeline.Kill))
        {
            _ = Task.WhenAny(Exit, Task.Delay(EndOfLauncher)).ContinueWith(_ => _session.Kill(), TaskScheduler.Default);
        }
        else
        {
            _session.Kill();
        }
    }

    private bool TryWrite(string word)
    {
        try
        {
            _process.StandardInput.WriteLine(word);
            _process.StandardInput.Flush();
            return !_process.HasExited;
        }
        catch (IOException)
        {
            return false;
        }
    }

    private async Task<int> FollowAsync()
    {
        // Both streams are one after the start (see ChildExec); the second holds only trouble before that.
        Task output = Task.WhenAll(_output.PumpAsync(_process.StandardOutput.BaseStream),
            _output.PumpAsync(_process.StandardError.BaseStream));
        await _process.WaitForExitAsync();
        Volatile.Write(ref _endedAt, Stopwatch.GetTimestamp());

        // As in a pod: when the first process ends, everything it started ends too.
        _session.Kill();
        try
        {
            await output.WaitAsync(EndOfOutput);
            _output.Dispose();
        }
        catch (TimeoutException)
        {
            _console.Problem($"{Node.FullName} ended, but its output stayed open for {EndOfOutput.TotalSeconds:0} s; "
                + "a process that left its session may still run");
        }

        return _process.ExitCode;
    }
}

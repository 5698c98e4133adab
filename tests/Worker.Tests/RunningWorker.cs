using System.Diagnostics;
using System.Globalization;
using System.Text;

namespace DeepSpeedSharp.Worker.Tests;

/// <summary>A worker process of a test.</summary>
internal sealed class RunningWorker : IDisposable
{
    private static readonly TimeSpan Timeout = TimeSpan.FromMinutes(3);
    private readonly StringBuilder _output = new();
    private readonly Process _process;

    private RunningWorker(Process process) => _process = process;

    public static string Program { get; } = Path.GetFullPath(Path.Combine(AppContext.BaseDirectory, "..", "..", "WorkerImage",
        Path.GetFileName(Path.TrimEndingDirectorySeparator(AppContext.BaseDirectory)), "deepspeed-worker"));

    public string Output
    {
        get
        {
            lock (_output)
            {
                return _output.ToString();
            }
        }
    }

    public bool HasExited => _process.HasExited;

    public int Id => _process.Id;

    /// <summary>Starts one rank of a world on this machine.</summary>
    public static RunningWorker Start(int rank, int worldSize, int port, string arguments, params (string Name, string Value)[] environment) =>
        StartAs(Program, rank, worldSize, port, arguments, environment);

    /// <summary>Starts one rank by another program, which goes on as the worker.</summary>
    public static RunningWorker StartAs(string program, int rank, int worldSize, int port, string arguments, params (string Name, string Value)[] environment) =>
        StartWith(program, arguments, [("RANK", Text(rank)), ("LOCAL_RANK", "0"), ("WORLD_SIZE", Text(worldSize)), ("MASTER_ADDR", "127.0.0.1"),
            ("MASTER_PORT", Text(port)), .. environment]);

    /// <summary>Starts the worker.</summary>
    public static RunningWorker Start(string arguments, params (string Name, string Value)[] environment) =>
        StartWith(Program, arguments, environment);

    /// <summary>Starts the worker in a network namespace; it keeps the process id of the program that enters it.</summary>
    public static RunningWorker StartIn(string network, string arguments, params (string Name, string Value)[] environment) =>
        StartWith("ip", $"netns exec {network} {Program} {arguments}", environment);

    /// <summary>Starts a program that starts the worker.</summary>
    public static RunningWorker StartWith(string program, string arguments, params (string Name, string Value)[] environment)
    {
        var start = new ProcessStartInfo(program, arguments) { RedirectStandardOutput = true, RedirectStandardError = true };
        foreach (string name in start.Environment.Keys.Where(k => k.StartsWith("DSJ_", StringComparison.Ordinal)).ToArray())
        {
            start.Environment.Remove(name);
        }

        start.Environment["OMP_NUM_THREADS"] = "1";
        start.Environment["DEEPSPEED_TIMEOUT"] = "1";
        foreach ((string name, string value) in environment)
        {
            start.Environment[name] = value;
        }

        var worker = new RunningWorker(Process.Start(start)!);
        DataReceivedEventHandler keep = (_, line) =>
        {
            lock (worker._output)
            {
                worker._output.AppendLine(line.Data);
            }
        };
        worker._process.OutputDataReceived += keep;
        worker._process.ErrorDataReceived += keep;
        worker._process.BeginOutputReadLine();
        worker._process.BeginErrorReadLine();
        return worker;
    }

    /// <summary>Starts all ranks of a world.</summary>
    public static RunningWorker[] StartWorld(int worldSize, string arguments)
    {
        int port = TestPorts.Free();
        return [.. Enumerable.Range(0, worldSize).Select(rank => Start(rank, worldSize, port, arguments))];
    }

    /// <summary>Waits for the end.</summary>
    /// <returns>The exit code.</returns>
    public int Wait()
    {
        Assert.True(_process.WaitForExit(Timeout), $"the worker did not end within {Timeout}; it said:\n{Output}");
        _process.WaitForExit();
        return _process.ExitCode;
    }

    public void Signal(string signal)
    {
        using Process kill = Process.Start("kill", $"-{signal} {_process.Id}");
        kill.WaitForExit();
    }

    public void Dispose()
    {
        if (!_process.HasExited)
        {
            _process.Kill(entireProcessTree: true);
        }

        _process.Dispose();
    }

    private static string Text(int value) => value.ToString(CultureInfo.InvariantCulture);
}

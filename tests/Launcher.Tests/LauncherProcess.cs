using System.Diagnostics;
using System.Text;

namespace DeepSpeedSharp.Launcher.Tests;

/// <summary>The built <c>deepspeed</c> program, running.</summary>
internal sealed partial class LauncherProcess : IDisposable
{
    private static readonly TimeSpan Longest = TimeSpan.FromSeconds(300);
    private readonly Process _process;
    private readonly StringBuilder _text = new();
    private readonly Task _ended;

    private LauncherProcess(Process process)
    {
        _process = process;
        process.OutputDataReceived += (_, line) => Add(line.Data);
        process.ErrorDataReceived += (_, line) => Add(line.Data);
        process.BeginOutputReadLine();
        process.BeginErrorReadLine();
        _ended = process.WaitForExitAsync();
    }

    /// <summary>Everything printed so far.</summary>
    public string Text
    {
        get
        {
            lock (_text)
            {
                return _text.ToString();
            }
        }
    }

    /// <summary>Number of the process.</summary>
    public int Id => _process.Id;

    /// <summary>Its exit code; null while it runs.</summary>
    public int? ExitCode => _process.HasExited ? _process.ExitCode : null;

    /// <summary>Starts the program in a folder.</summary>
    public static LauncherProcess Start(string folder, params string[] args) => Start(folder, [], args);

    /// <summary>Starts the program in a folder with more variables.</summary>
    public static LauncherProcess Start(string folder, (string Name, string Value)[] environment, params string[] args) =>
        StartThrough([], folder, environment, args);

    /// <summary>Starts the program through another, which becomes it.</summary>
    public static LauncherProcess StartThrough(string[] through, string folder, (string Name, string Value)[] environment, params string[] args)
    {
        // The program as users have it, beside its own files: artifacts/bin/Launcher/{configuration}/.
        string own = Path.TrimEndingDirectorySeparator(AppContext.BaseDirectory);
        string program = Path.GetFullPath(Path.Combine(own, "..", "..", "Launcher", Path.GetFileName(own), "deepspeed"));
        // A shell without job control starts programs in the background with Ctrl-C ignored, which is inherited.
        var start = new ProcessStartInfo("env", ["--default-signal=INT,QUIT", .. through, program, .. args])
        {
            WorkingDirectory = folder,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };
        string[] inherited = ["DSJ_WORKER", "OMP_NUM_THREADS", "OMP_WAIT_POLICY", "CUDA_VISIBLE_DEVICES"];
        foreach (string name in inherited)
        {
            start.Environment.Remove(name);
        }

        foreach ((string name, string value) in environment)
        {
            start.Environment[name] = value;
        }

        return new LauncherProcess(Process.Start(start)!);
    }

    /// <summary>Runs the program to its end.</summary>
    public static async Task<(int ExitCode, string Text)> RunAsync(string folder, params string[] args)
    {
        using LauncherProcess launcher = Start(folder, args);
        return (await launcher.ExitAsync(), launcher.Text);
    }

    /// <summary>Waits for the end and for all output.</summary>
    /// <param name="limit">Longest wait; two minutes when left out.</param>
    public async Task<int> ExitAsync(TimeSpan? limit = null)
    {
        await WithinAsync(_ended, "the end of the launcher", limit ?? Longest);
        return _process.ExitCode;
    }

    /// <summary>Waits until a text was printed.</summary>
    /// <param name="text">The text.</param>
    /// <param name="limit">Longest wait; two minutes when left out.</param>
    public async Task PrintsAsync(string text, TimeSpan? limit = null)
    {
        // Asked in this order: what was printed last is there when the end is.
        await UntilAsync(() => _ended.IsCompleted || Text.Contains(text, StringComparison.Ordinal), $"\"{text}\"", limit: limit);
        Assert.Contains(text, Text, StringComparison.Ordinal);
    }

    /// <summary>Waits for a condition.</summary>
    public async Task UntilAsync(Func<bool> condition, string what, Func<string>? state = null, TimeSpan? limit = null)
    {
        TimeSpan longest = limit ?? Longest;
        long begin = Stopwatch.GetTimestamp();
        while (!condition())
        {
            Assert.True(Stopwatch.GetElapsedTime(begin) < longest, $"waited {longest.TotalSeconds} s for {what}; got:\n{Text}{state?.Invoke()}");
            await Task.Delay(20, TestContext.Current.CancellationToken);
        }
    }

    /// <summary>The text after a marker on its line, for example a process id that a worker printed.</summary>
    public string After(string marker) =>
        Text.Split('\n').Single(line => line.Contains(marker, StringComparison.Ordinal)).Split(marker)[1].Trim();

    public void Dispose()
    {
        if (!_process.HasExited)
        {
            _process.Kill(entireProcessTree: true);
        }

        _process.Dispose();
    }

    private void Add(string? line)
    {
        lock (_text)
        {
            _text.Append(line is null ? "" : line + "\n");
        }
    }

    private async Task WithinAsync(Task task, string what, TimeSpan longest)
    {
        try
        {
            await task.WaitAsync(longest, TestContext.Current.CancellationToken);
        }
        catch (TimeoutException)
        {
            Assert.Fail($"waited {longest.TotalSeconds} s for {what}; got:\n{Text}");
        }
    }
}

using System.Diagnostics;
using System.Globalization;
using System.Text;

namespace DeepSpeedSharp.Operator.Cluster.Tests;

/// <summary>The <c>deepspeed</c> command on the cluster, as a user would call it. What it printed is kept in the transcript.</summary>
internal sealed class LauncherRun : IAsyncDisposable
{
    private readonly Kubectl _kubectl;
    private readonly Process _process;
    private readonly string _command;
    private readonly StringBuilder _text = new();
    private readonly Task _ended;

    private LauncherRun(Kubectl kubectl, Process process, string command)
    {
        (_kubectl, _process, _command) = (kubectl, process, command);
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

    /// <summary>Starts the command.</summary>
    public static LauncherRun Start(Kubectl kubectl, params string[] arguments)
    {
        string own = Path.TrimEndingDirectorySeparator(AppContext.BaseDirectory);
        string program = Path.GetFullPath(Path.Combine(own, "..", "..", "Launcher", Path.GetFileName(own), "deepspeed"));
        // A shell without job control starts programs in the background with Ctrl-C ignored, which is inherited.
        var start = new ProcessStartInfo("env", ["--default-signal=INT,QUIT", program, .. arguments])
        {
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            WorkingDirectory = RepositoryFiles.Root,
        };
        start.Environment["KUBECONFIG"] = kubectl.Kubeconfig;
        string shown = string.Join(' ', arguments.Select(a => Path.IsPathRooted(a) ? Path.GetRelativePath(RepositoryFiles.Root, a) : a));
        return new LauncherRun(kubectl, Process.Start(start)!, $"deepspeed {shown}");
    }

    /// <summary>Runs the command to its end.</summary>
    public static async Task<(int ExitCode, string Text)> RunAsync(Kubectl kubectl, params string[] arguments)
    {
        await using LauncherRun run = Start(kubectl, arguments);
        return (await run.ExitAsync(60), run.Text);
    }

    /// <summary>Waits until a text was printed.</summary>
    public async Task PrintsAsync(string text, int seconds)
    {
        var clock = Stopwatch.StartNew();
        while (!Text.Contains(text, StringComparison.Ordinal))
        {
            Assert.False(_ended.IsCompleted && !Text.Contains(text, StringComparison.Ordinal), $"`{_command}` ended without \"{text}\":\n{Text}");
            Assert.True(clock.Elapsed.TotalSeconds < seconds, $"`{_command}` did not print \"{text}\" within {seconds} s:\n{Text}");
            await Task.Delay(50, TestContext.Current.CancellationToken);
        }
    }

    /// <summary>Sends it a signal.</summary>
    public Task SendAsync(string signal) => PodProcesses.SendAsync(signal, _process.Id);

    /// <summary>Waits for its end.</summary>
    public async Task<int> ExitAsync(int seconds)
    {
        await Task.WhenAny(_ended, Task.Delay(TimeSpan.FromSeconds(seconds), TestContext.Current.CancellationToken));
        Assert.True(_ended.IsCompleted, $"`{_command}` did not end within {seconds} s:\n{Text}");
        return _process.ExitCode;
    }

    public async ValueTask DisposeAsync()
    {
        string end = _process.HasExited ? string.Create(CultureInfo.InvariantCulture, $"exit code {_process.ExitCode}") : "still runs";
        if (!_process.HasExited)
        {
            _process.Kill(entireProcessTree: true);
        }

        await _kubectl.NoteAsync($"$ {_command}\n{Text}[{end}]", plain: true);
        _process.Dispose();
    }

    private void Add(string? line)
    {
        lock (_text)
        {
            _text.Append(line is null ? "" : line + "\n");
        }
    }
}

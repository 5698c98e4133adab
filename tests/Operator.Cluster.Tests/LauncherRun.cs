using System.Globalization;
using DeepSpeedSharp.Launcher.Tests;

namespace DeepSpeedSharp.Operator.Cluster.Tests;

/// <summary>The <c>deepspeed</c> command on the cluster, as a user would call it. What it printed is kept in the transcript.</summary>
internal sealed class LauncherRun : IAsyncDisposable
{
    private readonly Kubectl _kubectl;
    private readonly LauncherProcess _process;
    private readonly string _command;

    private LauncherRun(Kubectl kubectl, LauncherProcess process, string command) => (_kubectl, _process, _command) = (kubectl, process, command);

    /// <summary>Everything printed so far.</summary>
    public string Text => _process.Text;

    /// <summary>Starts the command.</summary>
    public static LauncherRun Start(Kubectl kubectl, params string[] arguments)
    {
        string shown = string.Join(' ', arguments.Select(a => Path.IsPathRooted(a) ? Path.GetRelativePath(RepositoryFiles.Root, a) : a));
        return new LauncherRun(kubectl, LauncherProcess.Start(RepositoryFiles.Root, [("KUBECONFIG", kubectl.Kubeconfig)], arguments), $"deepspeed {shown}");
    }

    /// <summary>Runs the command to its end.</summary>
    public static async Task<(int ExitCode, string Text)> RunAsync(Kubectl kubectl, params string[] arguments)
    {
        await using LauncherRun run = Start(kubectl, arguments);
        return (await run.ExitAsync(60), run.Text);
    }

    /// <summary>Waits until a text was printed.</summary>
    public Task PrintsAsync(string text, int seconds) => _process.PrintsAsync(text, TimeSpan.FromSeconds(seconds * Job.Patience));

    /// <summary>Sends it a signal.</summary>
    public Task SendAsync(string signal) => PodProcesses.SendAsync(signal, _process.Id);

    /// <summary>Waits for its end.</summary>
    public Task<int> ExitAsync(int seconds) => _process.ExitAsync(TimeSpan.FromSeconds(seconds * Job.Patience));

    public async ValueTask DisposeAsync()
    {
        string end = _process.ExitCode is { } code ? string.Create(CultureInfo.InvariantCulture, $"exit code {code}") : "still runs";
        _process.Dispose();
        await _kubectl.NoteAsync($"$ {_command}\n{Text}[{end}]", plain: true);
    }
}

using System.Diagnostics;
using DeepSpeedSharp.Launcher.Tests.Hosts;

[assembly: AssemblyFixture(typeof(HostNetwork))]

namespace DeepSpeedSharp.Launcher.Tests.Hosts;

/// <summary>The three hosts of tests/hosts, started when the first test asks for them.</summary>
public sealed class HostNetwork : IDisposable
{
    private static readonly TimeSpan Longest = TimeSpan.FromMinutes(10);
    private static readonly string Script = Path.Combine(PublishedSample.Root, "tests", "hosts", "hosts.sh");
    private readonly string _state = Directory.CreateTempSubdirectory("deepspeed-hosts-").FullName;
    private readonly Lazy<string?> _skipReason;

    public HostNetwork() => _skipReason = new(Begin);

    public static IReadOnlyList<string> Names { get; } = ["worker-1", "worker-2", "worker-3"];

    /// <summary>Skips the test where there can be no such hosts, and says why.</summary>
    internal void Need() => Assert.SkipWhen(_skipReason.Value is not null, _skipReason.Value ?? "");

    /// <summary>Starts the program on the host that starts trainings.</summary>
    internal LauncherProcess Start(string folder, params string[] args) =>
        LauncherProcess.StartThrough(["bash", Script, "run", _state, "front"], folder, [("HOME", folder)], args);

    /// <summary>Processes of a host that do not belong to the host itself.</summary>
    internal string Processes(string host) => Succeed("pids", _state, host);

    internal void Cut(string host) => Succeed("cut", _state, host);

    internal void Join(string host) => Succeed("join", _state, host);

    public void Dispose()
    {
        if (_skipReason is { IsValueCreated: true, Value: null })
        {
            Run("down", _state);
        }

        Directory.Delete(_state, recursive: true);
    }

    private string? Begin()
    {
        (int exitCode, string text) = Run("install");
        if (exitCode == 77)
        {
            return text.Trim();
        }

        Assert.True(exitCode == 0, text);
        Succeed("up", _state);
        Succeed("slurm", _state);
        return null;
    }

    private static string Succeed(params string[] args)
    {
        (int exitCode, string text) = Run(args);
        Assert.True(exitCode == 0, $"hosts.sh {string.Join(' ', args)} ended with {exitCode}:\n{text}");
        return text;
    }

    // Into a file: what stays behind, the hosts' own processes, would keep a pipe open.
    private static (int ExitCode, string Text) Run(params string[] args)
    {
        string output = Path.GetTempFileName();
        try
        {
            using Process process = Process.Start("bash", ["-c", "out=$1; shift; exec bash \"$@\" > \"$out\" 2>&1 < /dev/null", "hosts", output, Script, .. args]);
            Assert.True(process.WaitForExit(Longest), $"hosts.sh {string.Join(' ', args)} did not end");
            return (process.ExitCode, File.ReadAllText(output));
        }
        finally
        {
            File.Delete(output);
        }
    }
}

/// <summary>After everything else: the hosts need this machine's processors for themselves.</summary>
[CollectionDefinition(nameof(HostNetwork), DisableParallelization = true)]
public sealed class HostNetworkAlone;

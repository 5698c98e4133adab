using System.Diagnostics;
using DeepSpeedSharp.Launcher.Launch;

namespace DeepSpeedSharp.Launcher.Tests;

/// <summary>Completion, as bash does it and by itself.</summary>
public sealed class CompletionTests
{
    // Sources the script, then does what bash does at the Tab key.
    private const string Tab = """
        eval "$(deepspeed completion bash)"
        COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=()
        _deepspeed
        printf '%s\n' "${COMPREPLY[@]}"
        """;

    [Theory]
    [InlineData("--num_gpus", "deepspeed", "--num_g")]
    [InlineData("--num_nodes --num_gpus --num_accelerators", "deepspeed", "--num_")]
    [InlineData("describe", "deepspeed", "desc")]
    [InlineData("pdsh", "deepspeed", "--launcher", "pd")]
    [InlineData("--world-size", "deepspeed", "config", "check", "--wo")]
    [InlineData("check schedule", "deepspeed", "config", "")]
    [InlineData("bash zsh fish", "deepspeed", "completion", "")]
    [InlineData("--all-namespaces", "deepspeed", "jobs", "--al")]
    [InlineData("bf16", "deepspeed", "checkpoint", "consolidate", "a", "b", "--dtype", "b")]
    [InlineData("shm tcp nccl", "deepspeed", "bench", "comm", "--backend", "")]
    [InlineData("", "deepspeed", "elastic", "--config", "ds")]
    [InlineData("--hostfile", "deepspeed", "plan", "--ho")]
    [InlineData("", "deepspeed", "--hostfile", "ho")]
    [InlineData("", "deepspeed", "train.dll", "--num_")]
    public async Task Bash_TabKey_OffersTheWordsThatFit(string expected, params string[] words)
    {
        string program = Path.Combine(PublishedSample.Root, "artifacts", "bin", "Launcher", Path.GetFileName(Path.TrimEndingDirectorySeparator(AppContext.BaseDirectory)));
        using Process bash = PublishedSample.Start("bash", ["--norc", "-c", Tab, "bash", .. words], Path.GetTempPath(),
            ("PATH", $"{program}:{Environment.GetEnvironmentVariable("PATH")}"));
        string[] offered = (await bash.StandardOutput.ReadToEndAsync(TestContext.Current.CancellationToken)).Split('\n', StringSplitOptions.RemoveEmptyEntries);
        await bash.WaitForExitAsync(TestContext.Current.CancellationToken);

        Assert.Equal(expected.Split(' ', StringSplitOptions.RemoveEmptyEntries).Order(), offered.Order());
    }

    [Fact]
    public void Next_Dash_OffersEveryOptionOfTheTable()
    {
        IReadOnlyList<string> words = Completion.Next(["-"]);

        Assert.Empty(LaunchOption.All.Where(option => option.Group.Length > 0).SelectMany(option => option.Names).Except(words));
        Assert.Empty(LaunchOption.All.Where(option => option.Group.Length == 0).SelectMany(option => option.Names).Intersect(words));
    }

    [Theory]
    [InlineData("zsh", "compdef _deepspeed deepspeed")]
    [InlineData("fish", "complete -c deepspeed")]
    public async Task Script_OfOtherShells_AsksForTheSameWords(string shell, string expected)
    {
        (int exitCode, string text) = await LauncherProcess.RunAsync(Path.GetTempPath(), "completion", shell);

        Assert.Equal(0, exitCode);
        Assert.Contains(expected, text, StringComparison.Ordinal);
        Assert.Contains(CompletionCommand.Mode, text, StringComparison.Ordinal);
    }
}

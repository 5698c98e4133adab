namespace DeepSpeedSharp.Launcher.Tests;

/// <summary>Signals, and the promise that no process is left behind.</summary>
public sealed class StopTests
{
    private const int Interrupt = 2;

    private const string SavingWorker = """
        trap 'echo "rank $RANK saved"; exit 143' TERM
        echo "rank $RANK ready"
        while :; do sleep 0.05; done
        """;

    [Theory]
    [InlineData(Interrupt, 130, "Ctrl-C")]
    [InlineData(Libc.Terminate, 143, "SIGTERM")]
    public async Task Run_FirstSignal_LetsEveryRankSave(int signal, int expected, string name)
    {
        using JobFolder job = new JobFolder().WithJob(SavingWorker, "numNodes: 2");
        using LauncherProcess launcher = job.Start();
        await launcher.PrintsAsync("[rank 0] rank 0 ready");
        await launcher.PrintsAsync("[rank 1] rank 1 ready");

        launcher.Send(signal);

        Assert.Equal(expected, await launcher.ExitAsync());
        Assert.Contains("[rank 0] rank 0 saved", launcher.Text, StringComparison.Ordinal);
        Assert.Contains("[rank 1] rank 1 saved", launcher.Text, StringComparison.Ordinal);
        Assert.Contains($"job tiny stopped by {name}", launcher.Text, StringComparison.Ordinal);
        Assert.DoesNotContain("failed", launcher.Text, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Run_SecondCtrlC_KillsAtOnce()
    {
        using JobFolder job = new JobFolder().WithJob("""
            trap '' TERM
            echo "process $$$$."
            while :; do sleep 0.05; done
            """);
        using LauncherProcess launcher = job.Start();
        await launcher.PrintsAsync("[rank 0] process ");

        launcher.Send(Interrupt);
        await launcher.PrintsAsync("a second signal ends them at once");
        launcher.Send(Interrupt);

        Assert.Equal(130, await launcher.ExitAsync());
        Assert.False(IsAlive(launcher.After("process ").TrimEnd('.')));
    }

    [Fact]
    public async Task Run_CtrlCDuringThePauseBeforeARestart_EndsTheRun()
    {
        using JobFolder job = new JobFolder().WithJob("exit 5");
        using LauncherProcess launcher = job.Start();
        await launcher.PrintsAsync("restart 2 of 3 in 2 s");

        launcher.Send(Interrupt);

        Assert.Equal(5, await launcher.ExitAsync());
        Assert.False(Directory.Exists(job.Of("runs", "tiny", "attempt-3")));
    }

    [Fact]
    public async Task Run_NodeEnds_EndsWhatItStartedToo()
    {
        using JobFolder job = new JobFolder().WithJob("sleep 1000 & echo \"process $!.\"");
        using LauncherProcess launcher = job.Start();

        Assert.Equal(0, await launcher.ExitAsync());
        Assert.False(IsAlive(launcher.After("process ").TrimEnd('.')));
    }

    // Exactly one SIGTERM: a worker takes a second one as an order to end without saving.
    [Fact]
    public async Task Run_LauncherKilled_AsksWorkersOnceToSave()
    {
        using JobFolder job = new JobFolder().WithJob("""
            trap 'echo asked >> asked' TERM
            echo ready
            while [ ! -e asked ]; do sleep 0.05; done
            for i in $(seq 10); do sleep 0.05; done
            mv asked saved
            """);
        using LauncherProcess launcher = job.Start();
        await launcher.PrintsAsync("[rank 0] ready");

        launcher.Send(Libc.Kill);

        await launcher.UntilAsync(() => File.Exists(job.Of("saved")), "the worker's checkpoint");
        Assert.Equal("asked\n", job.Read("saved"));
    }

    [Fact]
    public async Task Run_LauncherKilled_LeavesNoProcessBehind()
    {
        // The worst case: a worker that ignores SIGTERM and has a child of its own.
        using JobFolder job = new JobFolder().WithJob("""
            trap '' TERM
            sleep 1000 &
            echo "child $!."
            echo "worker $$$$."
            while :; do sleep 0.05; done
            """, "checkpoint: { claimName: disk, gracePeriodSeconds: 1 }");
        using LauncherProcess launcher = job.Start();
        await launcher.PrintsAsync("[rank 0] worker ");
        string[] processes = [launcher.After("child ").TrimEnd('.'), launcher.After("worker ").TrimEnd('.')];
        Assert.All(processes, id => Assert.True(IsAlive(id)));

        launcher.Send(Libc.Kill);

        await launcher.UntilAsync(() => !processes.Any(IsAlive), "the end of all processes");
    }

    // A zombie is dead: it only waits for its parent to notice.
    private static bool IsAlive(string processId)
    {
        try
        {
            string stat = File.ReadAllText($"/proc/{processId}/stat");
            return stat[stat.LastIndexOf(')') + 2] is not ('Z' or 'X');
        }
        catch (IOException)
        {
            return false;
        }
    }
}

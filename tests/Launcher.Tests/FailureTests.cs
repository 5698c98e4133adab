namespace DeepSpeedSharp.Launcher.Tests;

public sealed class FailureTests
{
    private const string Never = "restart: { maxRestarts: 0 }";

    [Fact]
    public async Task Run_OneNodeFails_NamesItAndShowsItsLastLines()
    {
        using JobFolder job = new JobFolder().WithJob("""
            trap 'exit 143' TERM
            if [ "$RANK" = 1 ]; then for i in $(seq 25); do echo "line $i"; done; exit 3; fi
            while :; do sleep 0.05; done
            """, $"numNodes: 2\n{Never}");

        (int exitCode, string text) = await job.RunAsync();

        Assert.Equal(3, exitCode);
        Assert.Contains("rank 1 (node 1) failed with exit code 3; its last 20 lines", text, StringComparison.Ordinal);
        Assert.Contains("  | line 25\n", text, StringComparison.Ordinal);
        Assert.Contains("  | line 6\n", text, StringComparison.Ordinal);
        Assert.DoesNotContain("  | line 5\n", text, StringComparison.Ordinal);
        Assert.Contains("job tiny failed: rank 1 (node 1)", text, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Run_PeerLostComesFirst_BlamesTheRankThatWasLost()
    {
        using JobFolder job = new JobFolder().WithJob("""
            if [ "$RANK" = 0 ]; then touch lost; exit 69; fi
            while [ ! -e lost ]; do sleep 0.05; done
            sleep 0.3; echo "the real cause"; exit 70
            """, $"numNodes: 2\n{Never}");

        (int exitCode, string text) = await job.RunAsync();

        Assert.Equal(70, exitCode);
        Assert.Contains("rank 1 (node 1) failed with exit code 70 (internal error)", text, StringComparison.Ordinal);
        Assert.Contains("  | the real cause", text, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Run_OnlyPeerLost_IsTheFailure()
    {
        using JobFolder job = new JobFolder().WithJob("exit 69", $"numNodes: 2\n{Never}");

        (int exitCode, string text) = await job.RunAsync();

        Assert.Equal(69, exitCode);
        Assert.Contains("failed with exit code 69 (peer lost)", text, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Run_KilledBySignal_SaysWhich()
    {
        using JobFolder job = new JobFolder().WithJob("kill -9 $$$$", Never);

        (int exitCode, string text) = await job.RunAsync();

        Assert.Equal(137, exitCode);
        Assert.Contains("exit code 137 (SIGKILL, often out of memory", text, StringComparison.Ordinal);
        Assert.Contains("it printed nothing", text, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Run_FailsOnce_StartsAgainAndCompletes()
    {
        using JobFolder job = new JobFolder().WithJob("echo \"restarts $DSJ_RESTARTS\"; [ $DSJ_RESTARTS = 1 ] || exit 5");

        (int exitCode, string text) = await job.RunAsync();

        Assert.Equal(0, exitCode);
        Assert.Contains("restart 1 of 3 in 1 s", text, StringComparison.Ordinal);
        Assert.Contains("job tiny complete, after 1 restart", text, StringComparison.Ordinal);
        Assert.Equal("restarts 1\n", job.Read("runs", "tiny", "attempt-2", "node-0.log"));
    }

    [Fact]
    public async Task Run_FailsAlways_GivesUpAfterMaxRestarts()
    {
        using JobFolder job = new JobFolder().WithJob("exit 5", "restart: { maxRestarts: 1 }");

        (int exitCode, string text) = await job.RunAsync();

        Assert.Equal(5, exitCode);
        Assert.Contains("giving up: restart.maxRestarts allows 1", text, StringComparison.Ordinal);
        Assert.True(Directory.Exists(job.Of("runs", "tiny", "attempt-2")));
        Assert.False(Directory.Exists(job.Of("runs", "tiny", "attempt-3")));
    }

    [Theory]
    [InlineData(64)]
    [InlineData(65)]
    [InlineData(78)]
    public async Task Run_FailureThatNeedsACorrection_DoesNotStartAgain(int code)
    {
        using JobFolder job = new JobFolder().WithJob($"exit {code}");

        (int exitCode, string text) = await job.RunAsync();

        Assert.Equal(code, exitCode);
        Assert.Contains("needs a correction first", text, StringComparison.Ordinal);
        Assert.False(Directory.Exists(job.Of("runs", "tiny", "attempt-2")));
    }

    [Fact]
    public async Task Run_OtherNodeIgnoresSigterm_IsKilledAfterTheGracePeriod()
    {
        using JobFolder job = new JobFolder().WithJob("""
            trap '' TERM
            [ "$RANK" = 1 ] && { while [ ! -e ready ]; do sleep 0.05; done; exit 3; }
            touch ready
            while :; do sleep 0.05; done
            """, $"numNodes: 2\n{Never}\ncheckpoint: {{ claimName: disk, gracePeriodSeconds: 1 }}");

        (int exitCode, string text) = await job.RunAsync();

        Assert.Equal(3, exitCode);
        Assert.Contains("rank 0 did not end within 1 s after SIGTERM; killing", text, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Run_UnknownCommand_IsAConfigurationError()
    {
        using var job = new JobFolder();
        job.WithJob("true");
        string manifest = job.Read(JobFolder.Manifest);
        job.Write(JobFolder.Manifest, manifest.Replace("\"sh\"", "\"no-such-shell\"", StringComparison.Ordinal));

        (int exitCode, string text) = await job.RunAsync();

        Assert.Equal(78, exitCode);
        Assert.Contains("spec.command[0]: there is no program no-such-shell in PATH", text, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Run_MissingWorker_SaysSo()
    {
        using var job = new JobFolder();
        job.Write(JobFolder.Manifest,
            "{apiVersion: deepspeedsharp.dev/v1alpha1, kind: DeepSpeedJob, metadata: {name: tiny}, spec: {}}");

        (int exitCode, string text) = await job.RunAsync("--worker", "nowhere/worker");

        Assert.Equal(78, exitCode);
        string expected = $"--worker: there is no file {job.Of("nowhere", "worker")}; correct the path";
        Assert.Contains(expected, text, StringComparison.Ordinal);
    }
}

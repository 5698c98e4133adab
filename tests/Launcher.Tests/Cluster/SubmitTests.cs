namespace DeepSpeedSharp.Launcher.Tests.Cluster;

/// <summary><c>deepspeed submit</c> from the manifest to the exit code.</summary>
public sealed class SubmitTests
{
    private const string Running = """{ "phase": "Running", "attempt": 1, "nodesText": "2/2" }""";

    private const string Complete = """
        { "phase": "Complete", "attempt": 1, "progress": { "step": 300, "totalSteps": 300, "loss": "1.25", "lastCheckpointStep": 300 },
          "conditions": [{ "type": "Complete", "status": "True", "reason": "AllNodesSucceeded" }] }
        """;

    private const string Failed = """
        { "phase": "Failed", "message": "restarts are used up", "attempt": 2,
          "lastFailures": [
            { "attempt": 2, "time": "2026-01-01T00:01:00Z", "node": 1, "exitCode": 137, "reason": "NodeFailed", "message": "second" },
            { "attempt": 1, "time": "2026-01-01T00:00:00Z", "node": 0, "exitCode": 9, "reason": "NodeFailed", "message": "first" }],
          "conditions": [{ "type": "Failed", "status": "True", "reason": "MaxRestartsExceeded" }] }
        """;

    [Fact]
    public async Task Submit_JobThatCompletes_ShowsEveryLineOnceAndEndsWell()
    {
        await using JobCluster cluster = await JobCluster.StartAsync();
        using LauncherProcess submit = cluster.Start("submit", "job.yaml");
        await submit.PrintsAsync("deepspeed: job tiny is submitted to namespace default");
        string[] pods = [cluster.Pod(1, 0), cluster.Pod(1, 1)];
        cluster.Status(Running);
        await submit.PrintsAsync("deepspeed: job tiny Running");
        cluster.Print(pods[0], "step 1", "step 2");
        cluster.Print(pods[1], "node 1 is here");
        await submit.PrintsAsync("[node 0] step 2");
        await submit.PrintsAsync("[node 1] node 1 is here");

        // The server goes away for a while in the middle of a line's way.
        cluster.Api.Down();
        await submit.PrintsAsync("the API server does not answer");
        cluster.Print(pods[0], [.. Enumerable.Range(3, 20).Select(i => $"step {i}")]);
        cluster.Api.Up();
        await submit.PrintsAsync("[node 0] step 22\n");
        Array.ForEach(pods, cluster.End);
        cluster.Status(Complete);

        Assert.Equal(0, await submit.ExitAsync());
        string[] lines = [.. submit.Text.Split('\n').Where(line => line.StartsWith("[node 0]", StringComparison.Ordinal))];
        Assert.Equal(Enumerable.Range(1, 22).Select(i => $"[node 0] step {i}"), lines);
        Assert.Contains("job tiny is complete: step 300 of 300, loss 1.25, saved at step 300", submit.Text, StringComparison.Ordinal);
        Assert.Equal("vision", (string?)cluster.Job()!["metadata"]!["labels"]!["team"]);
        Assert.Equal(0.001, (double)cluster.Job()!["spec"]!["config"]!["optimizer"]!["params"]!["lr"]!);
    }

    [Fact]
    public async Task Submit_JobThatFails_EndsWithTheExitCodeOfTheLastFailure()
    {
        await using JobCluster cluster = await JobCluster.StartAsync();
        using LauncherProcess submit = cluster.Start("submit", "job.yaml", "--no-logs");
        await submit.PrintsAsync("is submitted");

        cluster.Status(Failed);

        Assert.Equal(137, await submit.ExitAsync());
        Assert.Contains("job tiny failed: restarts are used up", submit.Text, StringComparison.Ordinal);
        Assert.Contains("attempt 1, node 0 (NodeFailed) with exit code 9: first", submit.Text, StringComparison.Ordinal);
        Assert.Contains("attempt 2, node 1 (NodeFailed) with exit code 137 (SIGKILL", submit.Text, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Submit_CtrlC_LeavesTheJobAndSaysHowToStopIt()
    {
        await using JobCluster cluster = await JobCluster.StartAsync();
        using LauncherProcess submit = cluster.Start("submit", "job.yaml");
        await submit.PrintsAsync("job tiny Pending");

        submit.Send(2);

        Assert.Equal(130, await submit.ExitAsync());
        Assert.Contains("Ctrl-C: job tiny goes on without this command", submit.Text, StringComparison.Ordinal);
        Assert.Contains("deepspeed stop tiny  ", submit.Text, StringComparison.Ordinal);
        Assert.False((bool)cluster.Job()!["spec"]!["suspend"]!);
    }

    [Fact]
    public async Task Submit_JobThatWasStopped_GoesOn()
    {
        await using JobCluster cluster = await JobCluster.StartAsync();
        await cluster.RunAsync("submit", "job.yaml", "--detach");
        await cluster.RunAsync("stop", "tiny");
        Assert.True((bool)cluster.Job()!["spec"]!["suspend"]!);
        cluster.Status("""{ "phase": "Suspended", "attempt": 1 }""");

        string stopped = cluster.Pod(1, 0);
        cluster.Print(stopped, "what it printed before");
        cluster.End(stopped);
        using LauncherProcess submit = cluster.Start("submit", "job.yaml");
        await submit.PrintsAsync("is submitted");
        Assert.False((bool)cluster.Job()!["spec"]!["suspend"]!);

        // The status still speaks of the job as it was; only then of what was submitted now.
        await submit.PrintsAsync("job tiny Suspended");
        cluster.Print(cluster.Pod(2, 0), "what it prints now");
        await submit.PrintsAsync("[node 0] what it prints now");
        cluster.End("tiny-2-0");
        cluster.Status(Complete);

        Assert.Equal(0, await submit.ExitAsync());
        Assert.DoesNotContain("what it printed before", submit.Text, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Submit_StoppedBySomebody_SaysSoAndEnds()
    {
        await using JobCluster cluster = await JobCluster.StartAsync();
        using LauncherProcess submit = cluster.Start("submit", "job.yaml");
        await submit.PrintsAsync("is submitted");

        await cluster.RunAsync("stop", "tiny");
        cluster.Status("""{ "phase": "Suspended", "attempt": 1 }""");

        Assert.Equal(1, await submit.ExitAsync());
        Assert.Contains("job tiny was stopped; `deepspeed submit`", submit.Text, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Submit_JobThatEndedBefore_IsRefused()
    {
        await using JobCluster cluster = await JobCluster.StartAsync();
        cluster.Create();
        cluster.Status(Complete);

        (int exitCode, string text) = await cluster.RunAsync("submit", "job.yaml");

        Assert.Equal(78, exitCode);
        Assert.Contains("a job tiny has ended here before (Complete); run `deepspeed stop tiny --delete` first", text, StringComparison.Ordinal);
        Assert.Empty(cluster.Applied);
    }

    [Fact]
    public async Task Submit_InvalidManifest_ListsEveryProblemAndSendsNothing()
    {
        await using JobCluster cluster = await JobCluster.StartAsync();
        cluster.Folder.Write("job.yaml", JobCluster.Manifest.Replace("train_batch_size: 8", "train_batch_size: 9, stage: 1", StringComparison.Ordinal));

        (int exitCode, string text) = await cluster.RunAsync("submit", "job.yaml");

        Assert.Equal(78, exitCode);
        Assert.Contains("spec.config.stage", text, StringComparison.Ordinal);
        Assert.Contains("spec.config.train_batch_size", text, StringComparison.Ordinal);
        Assert.Empty(cluster.Applied);
    }

    [Theory]
    [InlineData("trials", null, "trials")]
    [InlineData(null, "trials", "trials")]
    [InlineData("trials", "trials", "trials")]
    [InlineData("trials", "other", null)]
    [InlineData(null, null, "default")]
    public async Task Submit_Namespace_IsTheManifestsOrTheOptions(string? manifest, string? option, string? expected)
    {
        await using JobCluster cluster = await JobCluster.StartAsync();
        cluster.Folder.Write("job.yaml", manifest is null ? JobCluster.Manifest
            : JobCluster.Manifest.Replace("name: tiny,", $"name: tiny, namespace: {manifest},", StringComparison.Ordinal));

        (int exitCode, string text) = await cluster.RunAsync(["submit", "job.yaml", "-d", "--json", .. option is null ? [] : (string[])["-n", option]]);

        Assert.Equal(expected is null ? 78 : 0, exitCode);
        Assert.Contains(expected is null ? "it is trials, and --namespace is other" : $"\"namespace\":\"{expected}\"", text, StringComparison.Ordinal);
    }
}

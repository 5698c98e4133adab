namespace DeepSpeedSharp.Launcher.Tests;

public sealed class RunTests
{
    [Fact]
    public async Task Run_TwoNodes_GivesEachItsPlace()
    {
        using JobFolder job = new JobFolder().WithJob("""
            echo "rank $RANK of $WORLD_SIZE on node $NODE_RANK of $NNODES at $MASTER_ADDR"
            echo "errors come too" >&2
            """, "numNodes: 2");

        (int exitCode, string text) = await job.RunAsync();

        Assert.Equal(0, exitCode);
        Assert.Contains("2 nodes x 1 slot = 2 ranks", text, StringComparison.Ordinal);
        Assert.Contains("[rank 0] rank 0 of 2 on node 0 of 2 at 127.0.0.1", text, StringComparison.Ordinal);
        Assert.Contains("[rank 1] rank 1 of 2 on node 1 of 2 at 127.0.0.1", text, StringComparison.Ordinal);
        Assert.Contains("job tiny complete", text, StringComparison.Ordinal);
        Assert.Equal("rank 1 of 2 on node 1 of 2 at 127.0.0.1\nerrors come too\n",
            job.Read("runs", "tiny", "attempt-1", "node-1.log"));
        Assert.Equal("127.0.0.1 slots=1\n127.0.0.2 slots=1\n", job.Read("runs", "tiny", "attempt-1", "hostfile"));
    }

    [Fact]
    public async Task Run_SeveralSlots_StartsOneProcessPerNodeWithoutRank()
    {
        using JobFolder job = new JobFolder().WithJob(
            "echo \"rank '$RANK', $LOCAL_WORLD_SIZE slots, devices $CUDA_VISIBLE_DEVICES\"", "numNodes: 2\ngpusPerNode: 4");

        (int exitCode, string text) = await job.RunAsync();

        Assert.Equal(0, exitCode);
        Assert.Contains("[node 1] rank '', 4 slots, devices 4,5,6,7", text, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Run_ConfigAndCheckpoint_AreWhereTheVariablesSay()
    {
        using JobFolder job = new JobFolder().WithJob("""
            grep -c train_micro_batch_size_per_gpu "$DSJ_CONFIG"
            echo global_step3 > "$DSJ_CHECKPOINT_DIR/latest"
            echo '{"step": 2, "loss": 2.5}' > "$DSJ_CHECKPOINT_DIR/metrics.jsonl"
            echo '{"step": 3, "loss": 1.25}' >> "$DSJ_CHECKPOINT_DIR/metrics.jsonl"
            printf '{"step": 4, "lo' >> "$DSJ_CHECKPOINT_DIR/metrics.jsonl"
            """, """
            config: { train_micro_batch_size_per_gpu: 4 }
            checkpoint: { claimName: disk, subPath: a/b }
            """);

        (int exitCode, string text) = await job.RunAsync();

        Assert.Equal(0, exitCode);
        Assert.Contains("train batch 4 = micro batch 4 x accumulation 1 x 1 rank", text, StringComparison.Ordinal);
        Assert.Contains("runs/volumes/disk/a/b (newest: global_step3)", text, StringComparison.Ordinal);
        Assert.Contains("3, loss 1.25", text, StringComparison.Ordinal);
        Assert.True(File.Exists(job.Of("runs", "volumes", "disk", "a", "b", "latest")));
    }

    [Fact]
    public async Task Run_Again_CountsAttemptsAndKeepsTheIdentity()
    {
        using JobFolder job = new JobFolder().WithJob("echo \"$DSJ_ATTEMPT $DSJ_RESTARTS $DSJ_JOB_UID\"");

        await job.RunAsync();
        await job.RunAsync();

        string uid = job.Read("runs", "tiny", "uid").Trim();
        Assert.Equal($"1 0 {uid}\n", job.Read("runs", "tiny", "attempt-1", "node-0.log"));
        Assert.Equal($"2 0 {uid}\n", job.Read("runs", "tiny", "attempt-2", "node-0.log"));
    }

    [Fact]
    public async Task Run_ReferencesInArguments_AreExpandedAsInAPod()
    {
        using JobFolder job = new JobFolder().WithJob("echo '$(GREETING) $$(GREETING) $(NOWHERE)'", """
            env:
              - { name: WHO, value: "rank $(RANK)" }
              - { name: GREETING, value: "hello $(WHO)" }
            """);

        (_, string text) = await job.RunAsync();

        Assert.Contains("[rank 0] hello rank 0 $(GREETING) $(NOWHERE)", text, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Run_ConfigMap_IsAFile()
    {
        using JobFolder job = new JobFolder().WithJob("cat \"$DSJ_CONFIG\"", "configRef: { name: settings }");
        string path = Path.Combine("runs", "configmaps", "settings", "ds_config.json");

        (int missing, string text) = await job.RunAsync();
        job.Write(path, "{ \"train_batch_size\": 8 } // mine");
        (int present, string content) = await job.RunAsync();
        job.Write(path, "{ \"train_batch_sice\": 8 }");
        (int wrong, string problem) = await job.RunAsync();

        Assert.Equal((78, 0, 78), (missing, present, wrong));
        Assert.Contains($"put the DeepSpeed JSON config at {path}", text, StringComparison.Ordinal);
        Assert.Contains("\"train_batch_size\": 8 } // mine", content, StringComparison.Ordinal);
        Assert.Contains("did you mean \"train_batch_size\"?", problem, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Run_ValueFrom_IsRefusedByName()
    {
        using JobFolder job = new JobFolder().WithJob("true", """
            env:
              - { name: TOKEN, valueFrom: { secretKeyRef: { name: a, key: b } } }
            """);

        (int exitCode, string text) = await job.RunAsync();

        Assert.Equal(78, exitCode);
        Assert.Contains("spec.env[0].valueFrom: TOKEN", text, StringComparison.Ordinal);
        Assert.Contains("works only on a cluster", text, StringComparison.Ordinal);
        Assert.False(Directory.Exists(job.Of("runs")));
    }

    [Fact]
    public async Task Run_Suspended_StartsNothing()
    {
        using JobFolder job = new JobFolder().WithJob("true", "suspend: true");

        (int exitCode, string text) = await job.RunAsync();

        Assert.Equal(0, exitCode);
        Assert.Contains("suspended", text, StringComparison.Ordinal);
        Assert.False(Directory.Exists(job.Of("runs")));
    }

    [Fact]
    public async Task Run_DryRun_PrintsThePlanAndStartsNothing()
    {
        using JobFolder job = new JobFolder().WithJob("echo it ran", "numNodes: 2");

        (int exitCode, string text) = await job.RunAsync("--dry-run");

        Assert.Equal(0, exitCode);
        Assert.Contains("rank 1 (node 1)\n  MASTER_ADDR=127.0.0.1\n", text, StringComparison.Ordinal);
        Assert.Contains("  sh -c 'echo it ran\n", text, StringComparison.Ordinal);
        Assert.False(Directory.Exists(job.Of("runs")));
    }

    [Fact]
    public async Task Run_SameJobTwiceAtOnce_RefusesTheSecond()
    {
        using JobFolder job = new JobFolder().WithJob("echo ready; while [ ! -e go ]; do sleep 0.05; done");
        using LauncherProcess first = job.Start();
        await first.PrintsAsync("[rank 0] ready");

        (int exitCode, string text) = await job.RunAsync();
        job.Write("go", "");

        Assert.Equal(78, exitCode);
        Assert.Contains("the job tiny is running here already", text, StringComparison.Ordinal);
        Assert.Equal(0, await first.ExitAsync());
    }
}

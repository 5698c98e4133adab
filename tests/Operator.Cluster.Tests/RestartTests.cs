using System.Text.Json.Nodes;

namespace DeepSpeedSharp.Operator.Cluster.Tests;

[Trait("Category", "Slow")]
public sealed class RestartTests(TestCluster cluster) : ClusterTest(cluster)
{
    [Fact]
    public async Task Pod_DeletedWhileTheOperatorRestarts_WholeJobGoesOnFromTheLastCheckpoint()
    {
        Kubectl kubectl = Story("2-pod-deleted");
        await using Job job = await Job.ApplyAsync(kubectl, "bereft", Job.Manifest("bereft.yaml"));
        await job.WaitAsync("a checkpoint", s => (long?)s["progress"]?["lastCheckpointStep"] >= 40, 90);

        await kubectl.ShowAsync("-n", "deepspeed-system", "delete", "pods", "--all", "--wait=false");
        await kubectl.ShowAsync("delete", "pod", "bereft-1-1", "--wait=false");
        await job.WaitAsync("attempt 2", s => (int?)s["attempt"] == 2, 30);
        await kubectl.ShowAsync("get", "dsj,pods", "-o", "wide");
        JsonNode done = await job.WaitForPhaseAsync("Complete", 300);

        Assert.Equal((2, 0, 1), Counters(done));
        Assert.Equal("PodDeleted", (string?)done["lastFailures"]![0]!["reason"]);
        await ResumedAfterACheckpoint(kubectl, "bereft-2-0");
        await kubectl.ShowAsync("describe", "dsj", "bereft");
    }

    [Fact]
    public async Task Worker_Killed_IsACountedRestart()
    {
        NeedsThisMachine("killing a process in a pod");
        Kubectl kubectl = Story("3-worker-killed");
        await using Job job = await Job.ApplyAsync(kubectl, "victim", Job.Manifest("victim.yaml"));
        await job.WaitAsync("a checkpoint", s => (long?)s["progress"]?["lastCheckpointStep"] >= 40, 90);

        int process = await PodProcesses.WorkerAsync(job, "victim-1-1");
        await kubectl.NoteAsync($"kill -KILL {process}, the worker of victim-1-1");
        await PodProcesses.SendAsync("KILL", process);
        JsonNode restarting = await job.WaitAsync("attempt 2", s => (int?)s["attempt"] == 2, 30);
        await kubectl.ShowAsync("get", "dsj", "victim", "-o", "wide");
        Assert.Equal("NodeFailed", (string?)Job.Condition(restarting, "Restarting")!["reason"]);
        Assert.Equal("victim-1-1", (string?)restarting["lastFailures"]![0]!["pod"]);
        Assert.Equal(137, (int)restarting["lastFailures"]![0]!["exitCode"]!);
        JsonNode done = await job.WaitForPhaseAsync("Complete", 300);

        Assert.Equal((2, 1, 0), Counters(done));
        await ResumedAfterACheckpoint(kubectl, "victim-2-0");
        await kubectl.ShowAsync("describe", "dsj", "victim");
    }

    private static (int Attempt, int Restarts, int Disruptions) Counters(JsonNode status) =>
        ((int)status["attempt"]!, (int)status["restarts"]!, (int)status["disruptions"]!);

    private static async Task ResumedAfterACheckpoint(Kubectl kubectl, string pod)
    {
        ShellResult log = await kubectl.ShowAsync("logs", pod, "--tail=-1");
        Assert.Matches(@"resuming after step [1-9]\d+ from /checkpoints/\w+/global_step[1-9]\d+", log.Output);
    }
}

using System.Text.Json.Nodes;

namespace DeepSpeedSharp.Operator.Cluster.Tests;

[Trait("Category", "Slow")]
public sealed class HungRankTests(TestCluster cluster) : ClusterTest(cluster)
{
    [Fact]
    public async Task Rank_ThatIsStopped_IsFoundAndNamedAndTheJobGoesOnFromItsCheckpoint()
    {
        NeedsThisMachine("stopping a process in a pod");
        Kubectl kubectl = Story("10-hung-rank");
        await using Job job = await Job.ApplyAsync(kubectl, "hung", Job.Manifest("hung.yaml"));
        await job.WaitAsync("a checkpoint", s => (long?)s["progress"]?["lastCheckpointStep"] >= 40, 90);

        int process = await PodProcesses.WorkerAsync(job, "hung-1-1");
        string machine = await job.PodFieldAsync("hung-1-1", ".spec.nodeName");
        await kubectl.NoteAsync($"kill -STOP {process}, the worker of hung-1-1");
        await PodProcesses.SendAsync("STOP", process);
        JsonNode restarting = await job.WaitAsync("attempt 2", s => (int?)s["attempt"] == 2, 120);
        await kubectl.ShowAsync("get", "dsj", "hung", "-o", "wide");

        // Whoever reads the status or the events knows the rank, its pod and its machine.
        string named = $"node 1 (pod hung-1-1 on {machine}, rank 1) does not answer";
        JsonNode failure = restarting["lastFailures"]![0]!;
        Assert.Equal(("Hang", 1, "hung-1-1", machine),
            ((string?)failure["reason"], (int)failure["node"]!, (string?)failure["pod"], (string?)failure["clusterNode"]));
        Assert.Contains(named, (string?)failure["message"]);
        Assert.Equal("Hang", (string?)Job.Condition(restarting, "Restarting")!["reason"]);
        await job.WaitAsync("an event", async () => (await kubectl.GetAsync("get", "events", "-o",
            "jsonpath={.items[?(@.reason==\"Hang\")].message}")).Contains(named, StringComparison.Ordinal), 30);

        JsonNode done = await job.WaitForPhaseAsync("Complete", 300);
        Assert.Equal(100, (int)done["progress"]!["percent"]!);
        ShellResult log = await kubectl.ShowAsync("logs", $"hung-{done["attempt"]}-0", "--tail=-1");
        Assert.Matches(@"resuming after step [1-9]\d+ from /checkpoints/hung/global_step[1-9]\d+", log.Output);
        await kubectl.ShowAsync("describe", "dsj", "hung");
    }
}

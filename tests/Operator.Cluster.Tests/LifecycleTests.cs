using System.Text.Json.Nodes;

namespace DeepSpeedSharp.Operator.Cluster.Tests;

public sealed class LifecycleTests(TestCluster cluster) : ClusterTest(cluster)
{
    [Fact]
    public async Task Job_Deleted_LeavesOnlyTheClaim()
    {
        Kubectl kubectl = Story("7-deleted");
        await using Job job = await Job.ApplyAsync(kubectl, "shortlived", Job.Manifest("shortlived.yaml"));
        await job.WaitForPhaseAsync("Running", 60);

        await kubectl.ShowAsync("delete", "dsj", "shortlived");
        await job.WaitAsync("its objects are gone", async () => await kubectl.GetAsync(
            "get", "pods,services,configmaps", "-l", "deepspeedsharp.dev/job-name=shortlived", "-o", "name") == "", 60);

        await kubectl.ShowAsync("get", "pods,services,configmaps,pvc", "-l", "deepspeedsharp.dev/job-name=shortlived");
        Assert.Equal("persistentvolumeclaim/shortlived-checkpoints", await kubectl.GetAsync(
            "get", "pvc", "-l", "deepspeedsharp.dev/job-name=shortlived", "-o", "name"));
    }

    [Fact]
    public async Task Job_SuspendedAndResumed_GoesOnFromItsCheckpoint()
    {
        Kubectl kubectl = Story("8-suspended");
        await using Job job = await Job.ApplyAsync(kubectl, "sleeper", Job.Manifest("sleeper.yaml"));
        await job.WaitForStepAsync(30, 90);

        await kubectl.ShowAsync("patch", "dsj", "sleeper", "--type=merge", "-p", """{"spec":{"suspend":true}}""");
        await job.WaitAsync("condition Suspended", s => (string?)Job.Condition(s, "Suspended")?["status"] == "True", 60);
        await job.WaitAsync("its pods have ended", async () =>
            (await job.PodsAsync()).All(p => (string?)p["status"]!["phase"] is "Succeeded" or "Failed"), 30);
        await kubectl.ShowAsync("get", "dsj,pods", "-o", "wide");
        JsonNode suspended = await job.StatusAsync();
        Assert.Equal("Suspended", (string?)suspended["phase"]);

        await kubectl.ShowAsync("patch", "dsj", "sleeper", "--type=merge", "-p", """{"spec":{"suspend":false}}""");
        JsonNode done = await job.WaitForPhaseAsync("Complete", 300);

        Assert.Equal((2, 0, 0), ((int)done["attempt"]!, (int)done["restarts"]!, (int)done["disruptions"]!));
        ShellResult log = await kubectl.ShowAsync("logs", "sleeper-2-0", "--tail=-1");
        Assert.Matches(@"resuming after step [1-9]\d*", log.Output);
        await kubectl.ShowAsync("describe", "dsj", "sleeper");
    }

    [Fact]
    public async Task Job_ThatFails_TellsWhoFailedFirstAndGoesAfterItsTime()
    {
        Kubectl kubectl = Story("9-failed");
        await using Job job = await Job.ApplyAsync(kubectl, "doomed", Job.Manifest("doomed.yaml"));
        await job.WaitAsync("its guards exist", async () => await kubectl.GetAsync(
            "get", "pdb,networkpolicies", "-l", "deepspeedsharp.dev/job-name=doomed", "-o", "name") is var guards
            && guards.Contains("poddisruptionbudget", StringComparison.Ordinal) && guards.Contains("networkpolicy", StringComparison.Ordinal), 60);
        await job.WaitForPhaseAsync("Failed", 120);

        JsonNode failed = (await job.ConditionAsync("Failed"))!;
        Assert.Equal("MaxRestartsExceeded", (string?)failed["reason"]);
        Assert.StartsWith("Node 1 (pod doomed-1-1 on ", (string?)failed["message"]);
        Assert.Contains("failed with exit code 3: CUDA error: an illegal memory access was encountered", (string?)failed["message"]);
        Assert.Contains("`kubectl logs doomed-1-1", (string?)failed["message"]);
        await job.WaitAsync("an event and the removal of its budget", async () =>
            (await kubectl.ShowAsync("describe", "dsj", "doomed")).Output.Contains("MaxRestartsExceeded", StringComparison.Ordinal)
            && await kubectl.GetAsync("get", "pdb", "-l", "deepspeedsharp.dev/job-name=doomed", "-o", "name") == "", 30);

        await kubectl.ShowAsync("patch", "dsj", "doomed", "--type=merge", "-p", """{"spec":{"ttlSecondsAfterFinished":1}}""");
        await job.WaitAsync("it goes with all that it owned", async () => await kubectl.GetAsync(
            "get", "dsj,pods,services,configmaps,networkpolicies,pvc", "-l", "deepspeedsharp.dev/job-name=doomed", "-o", "name") == ""
            && await kubectl.GetAsync("get", "dsj", "-o", "name") is var jobs && !jobs.Contains("doomed", StringComparison.Ordinal), 60);
    }
}

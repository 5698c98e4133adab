using System.Text.Json.Nodes;

namespace DeepSpeedSharp.Operator.Cluster.Tests;

[Trait("Category", "Slow")]
public sealed class OutageTests(TestCluster cluster) : ClusterTest(cluster)
{
    [Fact]
    public async Task ApiServer_StoppedFor30Seconds_TrainingGoesOn()
    {
        NeedsThisMachine("stopping the API server");
        Kubectl kubectl = Story("9-api-server-stopped");
        await using Job job = await Job.ApplyAsync(kubectl, "steady", Job.Manifest("steady.yaml"));
        await job.WaitForStepAsync(20, 90);
        string[] before = [.. (await job.PodsAsync()).Select(Identity).Order()];
        string ip = await job.PodFieldAsync("steady-1-0", ".status.podIP");
        string operatorPod = await OperatorPod(kubectl);

        (long first, long last) = (0, 0);
        await kubectl.NoteAsync("the API server is stopped");
        await Cluster.ApiServer("stop");
        try
        {
            first = (long)(await Job.ProgressAsync(ip))["step"]!;
            await Task.Delay(TimeSpan.FromSeconds(30), TestContext.Current.CancellationToken);
            last = (long)(await Job.ProgressAsync(ip))["step"]!;
        }
        finally
        {
            await Cluster.ApiServer("start");
        }

        await kubectl.NoteAsync($"the API server is back after 30 s; training went from step {first} to step {last}");
        Assert.True(last > first + 20, $"training stood still: step {first}, then {last}");
        await job.WaitForStepAsync(last, 90);
        await kubectl.ShowAsync("get", "dsj,pods", "-o", "wide");
        JsonNode status = await job.StatusAsync();

        Assert.Equal((1, 0, 0), ((int)status["attempt"]!, (int)status["restarts"]!, (int)status["disruptions"]!));
        Assert.Equal(before, (await job.PodsAsync()).Select(Identity).Order());
        // A leader that cannot renew its lease ends, and its container starts again; the pod stays.
        Assert.Equal(operatorPod.Split(' ')[0], (await OperatorPod(kubectl)).Split(' ')[0]);

        // The operator not only sees again, it acts again.
        await kubectl.ShowAsync("patch", "dsj", "steady", "--type=merge", "-p", """{"spec":{"suspend":true}}""");
        await job.WaitAsync("condition Suspended", s => (string?)Job.Condition(s, "Suspended")?["status"] == "True", 60);
        await kubectl.ShowAsync("describe", "dsj", "steady");
    }

    // A pod that was replaced has another UID, a container that was restarted another count.
    private static string Identity(JsonNode pod) =>
        $"{pod["metadata"]!["name"]} {pod["metadata"]!["uid"]} {pod["status"]!["containerStatuses"]![0]!["restartCount"]}";

    private static Task<string> OperatorPod(Kubectl kubectl) => kubectl.GetAsync("-n", "deepspeed-system", "get", "pods", "-o",
        "jsonpath={.items[*].metadata.uid} {.items[*].status.containerStatuses[0].restartCount}");
}

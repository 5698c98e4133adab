using System.Text.Json.Nodes;

namespace DeepSpeedSharp.Operator.Cluster.Tests;

public sealed class InvalidJobTests(TestCluster cluster) : ClusterTest(cluster)
{
    [Fact]
    public async Task Config_ThatDoesNotFit_FailsWithTheProblemAndWithoutPods()
    {
        Kubectl kubectl = Story("4-invalid-config");
        await using Job job = await Job.ApplyAsync(kubectl, "misfit", Job.Manifest("misfit.yaml"));
        string message = await FailedMessage(kubectl, job);

        Assert.Contains("spec.config.train_batch_size: 30 is not 4 (micro batch) x 2 (accumulation) x 2 (ranks) = 16", message);
        Assert.Contains("spec.config.optimizer.params.learning_rate", message);

        await kubectl.ShowAsync("patch", "dsj", "misfit", "--type=merge", "-p",
            """{"spec":{"config":{"train_batch_size":16,"optimizer":{"params":{"learning_rate":null}}}}}""");
        await job.WaitAsync("the mended job starts", s => (int?)s["attempt"] == 1 && (int?)s["createdAttempt"] == 1, 30);
        Assert.Equal(2, (await job.PodsAsync()).Count);
    }

    [Fact]
    public async Task Field_ThatIsNotBuilt_IsRefusedByName()
    {
        Kubectl kubectl = Story("5-field-not-built");
        await using Job job = await Job.ApplyAsync(kubectl, "early", Job.Manifest("early.yaml"));
        string message = await FailedMessage(kubectl, job);

        Assert.Contains("spec.resources.claims: this field is not supported yet; remove it", message);
        Assert.Contains("spec.scheduling.gang: Native is not supported yet; use None or Volcano or Coscheduling or Kueue", message);
        Assert.Contains("spec.template.spec.volumes[disk].hostPath: it reaches into the machine", message);
    }

    [Fact]
    public async Task Value_OutOfRange_IsRefusedByTheServer()
    {
        Kubectl kubectl = Story("6-refused-by-the-server");
        ShellResult result = await kubectl.ShowAsync("apply", "--validate=false", "-f", Job.Manifest("out-of-range.yaml"));

        Assert.NotEqual(0, result.ExitCode);
        Assert.Contains("spec.numNodes", result.All);
        Assert.Contains("spec.args", result.All);
    }

    private static async Task<string> FailedMessage(Kubectl kubectl, Job job)
    {
        JsonNode? failed = null;
        await job.WaitAsync("condition Failed", async () =>
        {
            failed = await job.ConditionAsync("Failed");
            return (string?)failed?["status"] == "True";
        }, 30);
        await Task.Delay(2000);
        await kubectl.ShowAsync("get", "dsj", job.Name, "-o", "wide");
        ShellResult described = await kubectl.ShowAsync("describe", "dsj", job.Name);
        Assert.Equal("InvalidSpec", (string?)failed!["reason"]);
        Assert.Empty(await job.PodsAsync());
        Assert.Matches(@"Warning\s+InvalidSpec", described.Output);
        return (string)failed["message"]!;
    }
}

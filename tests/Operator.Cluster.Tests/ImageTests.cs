namespace DeepSpeedSharp.Operator.Cluster.Tests;

/// <summary>Programs of users on the base image.</summary>
[Trait("Category", "Slow")]
public sealed class ImageTests(TestCluster cluster) : ClusterTest(cluster)
{
    [Fact]
    public async Task Program_OnTheBase_Trains_AndEndsInOrder()
    {
        Kubectl kubectl = Story("24-own-program");
        NeedsThisMachine("building images");
        await Cluster.BuildImage("own");
        string manifest = (await File.ReadAllTextAsync(Job.Manifest("small.yaml"), TestContext.Current.CancellationToken)).Replace("localhost/deepspeed-worker:test", "localhost/deepspeed-own:test", StringComparison.Ordinal)
            .Replace("--data=src", "--data=/usr/share/common-licenses/GPL-3", StringComparison.Ordinal);
        string file = Path.Combine(Path.GetTempPath(), $"deepspeed-own-{Guid.NewGuid():N}.yaml");
        await File.WriteAllTextAsync(file, manifest, TestContext.Current.CancellationToken);
        await using Job job = await Job.ApplyAsync(kubectl, "small", file);
        File.Delete(file);
        await job.WaitForStepAsync(1, 90);

        await kubectl.ShowAsync("patch", "dsj", "small", "--type=merge", "-p", """{"spec":{"suspend":true}}""");
        await job.WaitAsync("its pod has ended", async () => (await job.PodsAsync()).All(p => (string?)p["status"]!["phase"] is "Failed" or "Succeeded"), 60);

        // 143: it got the signal and said goodbye; without an init that passes it on, 137 at the end of the grace period.
        Assert.Equal("143", await job.PodFieldAsync("small-1-0", ".status.containerStatuses[0].state.terminated.exitCode"));
    }
}

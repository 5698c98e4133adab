using System.Text.Json.Nodes;

namespace DeepSpeedSharp.Operator.Cluster.Tests;

/// <summary>Scenarios 43 to 45: gang schedulers and queues, whose APIs the cluster gets while a job waits for them.</summary>
[Trait("Category", "Slow")]
public sealed class GangTests(TestCluster cluster) : ClusterTest(cluster)
{
    [Fact]
    public async Task Coscheduling_44And45_NoPodStartsUntilAllFit_AndTheGroupFollowsTheJob()
    {
        Kubectl kubectl = Story("10-coscheduling");
        await using var api = new Api(kubectl, "coscheduling");
        await using Job job = await Job.ApplyAsync(kubectl, "gang-coscheduling", Job.Manifest("gang-coscheduling.yaml"));
        await SaysWhatIsMissing(kubectl, job, "podgroups of scheduling.x-k8s.io/v1alpha1");

        await api.InstallAsync();
        await job.WaitAsync("all pods are created", s => (int?)s["createdAttempt"] == 1, 90);
        JsonNode group = await GroupAsync(kubectl, "podgroups.scheduling.x-k8s.io", "gang-coscheduling-1");
        Assert.Equal((3, 120, "0.03", "50331648"), ((int)group["spec"]!["minMember"]!, (int)group["spec"]!["scheduleTimeoutSeconds"]!,
            (string?)group["spec"]!["minResources"]!["cpu"], (string?)group["spec"]!["minResources"]!["memory"]));

        var scheduler = new TinyGangScheduler(kubectl, "tiny-gang-scheduler") { Room = 2 };
        for (int i = 0; i < 5; i++)
        {
            Assert.Equal(0, await scheduler.RunOnceAsync());
            Assert.All(await job.PodsAsync(), p => Assert.Null(p["spec"]!["nodeName"]));
            await Task.Delay(1000, TestContext.Current.CancellationToken);
        }

        await kubectl.ShowAsync("get", "dsj,pods", "-o", "wide");
        scheduler.Room = 3;
        Assert.Equal(3, await scheduler.RunOnceAsync());
        await job.WaitForPhaseAsync("Running", 60);

        await kubectl.ShowAsync("patch", "dsj", job.Name, "--type=merge", "-p", """{"spec":{"suspend":true}}""");
        await job.WaitAsync("condition Suspended", s => (string?)Job.Condition(s, "Suspended")?["status"] == "True", 60);
        Assert.Equal("", await kubectl.GetAsync("get", "podgroups.scheduling.x-k8s.io", "-o", "name"));
        await kubectl.ShowAsync("patch", "dsj", job.Name, "--type=merge", "-p", """{"spec":{"suspend":false,"numNodes":2}}""");
        await job.WaitAsync("its two pods are created", s => (int?)s["createdAttempt"] == 2, 60);
        group = await GroupAsync(kubectl, "podgroups.scheduling.x-k8s.io", "gang-coscheduling-2");
        Assert.Equal(2, (int)group["spec"]!["minMember"]!);
        Assert.Equal(2, await scheduler.RunOnceAsync());
        await job.WaitForPhaseAsync("Running", 60);

        // A pod that goes is no reason for the old group to stay.
        await kubectl.ShowAsync("delete", "pod", "gang-coscheduling-2-1", "--wait=false");
        await job.WaitAsync("the next attempt has its own group", async () =>
            (await kubectl.GetAsync("get", "podgroups.scheduling.x-k8s.io", "-o", "name")).EndsWith("/gang-coscheduling-3", StringComparison.Ordinal), 90);
        await kubectl.ShowAsync("describe", "dsj", job.Name);
    }

    [Fact]
    public async Task Volcano_44_PodsAreMadeWhenTheGroupIsIn()
    {
        Kubectl kubectl = Story("11-volcano");
        await using var api = new Api(kubectl, "volcano");
        await using Job job = await Job.ApplyAsync(kubectl, "gang-volcano", Job.Manifest("gang-volcano.yaml"));
        await SaysWhatIsMissing(kubectl, job, "podgroups of scheduling.volcano.sh/v1beta1");

        await api.InstallAsync();
        await job.WaitAsync("it waits for Volcano", s => (string?)Job.Condition(s, "Scheduled")?["reason"] == "WaitingForGang", 90);
        JsonNode group = await GroupAsync(kubectl, "podgroups.scheduling.volcano.sh", "gang-volcano-1");
        Assert.Equal((3, "research", "0.03"), ((int)group["spec"]!["minMember"]!, (string?)group["spec"]!["queue"], (string?)group["spec"]!["minResources"]!["cpu"]));
        await kubectl.ShowAsync("patch", "podgroups.scheduling.volcano.sh", "gang-volcano-1", "--type=merge", "-p",
            """{"status":{"phase":"Pending","conditions":[{"type":"Unschedulable","status":"True","message":"queue research is full"}]}}""");
        await job.WaitAsync("it repeats Volcano's words", s => ((string?)s["message"])?.Contains("queue research is full", StringComparison.Ordinal) == true, 60);
        Assert.Empty(await job.PodsAsync());
        await kubectl.ShowAsync("get", "dsj", "-o", "wide");

        await kubectl.ShowAsync("patch", "podgroups.scheduling.volcano.sh", "gang-volcano-1", "--type=merge", "-p", """{"status":{"phase":"Inqueue"}}""");
        await job.WaitAsync("all pods are created", s => (int?)s["createdAttempt"] == 1, 60);
        Assert.All(await job.PodsAsync(), p => Assert.Equal(("volcano", "gang-volcano-1"),
            ((string?)p["spec"]!["schedulerName"], (string?)p["metadata"]!["annotations"]!["scheduling.k8s.io/group-name"])));

        await kubectl.ShowAsync("delete", "dsj", job.Name);
        await job.WaitAsync("its group goes with it", async () => await kubectl.GetAsync("get", "podgroups.scheduling.volcano.sh", "-o", "name") == "", 60);
    }

    [Fact]
    public async Task Kueue_PodsAreOneGroup_WhichIsClosedWhenTheJobRests()
    {
        Kubectl kubectl = Story("12-kueue");
        await using var api = new Api(kubectl, "kueue");
        await using Job job = await Job.ApplyAsync(kubectl, "gang-kueue", Job.Manifest("gang-kueue.yaml"));
        await SaysWhatIsMissing(kubectl, job, "workloads of kueue.x-k8s.io");

        await api.InstallAsync();
        await job.WaitAsync("all pods are created", s => (int?)s["createdAttempt"] == 1, 90);
        string group = (string)(await job.StatusAsync())["gang"]!["group"]!;
        IReadOnlyList<JsonNode> pods = await job.PodsAsync();
        Assert.Equal(3, pods.Count);
        Assert.All(pods, p => Assert.Equal((group, "research", "3"), ((string?)p["metadata"]!["labels"]!["kueue.x-k8s.io/pod-group-name"],
            (string?)p["metadata"]!["labels"]!["kueue.x-k8s.io/queue-name"], (string?)p["metadata"]!["annotations"]!["kueue.x-k8s.io/pod-group-total-count"])));

        // A pod that has only just started may not hear that it is to end, and keeps its whole grace period.
        await job.WaitForPhaseAsync("Running", 60);

        // No Kueue is there: the test keeps a pod as its webhook would, and lets it go.
        await kubectl.ShowAsync("patch", "pod", "gang-kueue-1-2", "--type=merge", "-p", """{"metadata":{"finalizers":["kueue.x-k8s.io/managed"]}}""");
        await kubectl.ShowAsync("patch", "dsj", job.Name, "--type=merge", "-p", """{"spec":{"suspend":true}}""");
        await job.WaitAsync("Kueue is told that no pods follow", async () => await kubectl.GetAsync("get", "pods", "-l", $"kueue.x-k8s.io/pod-group-name={group}",
            "-o", "jsonpath={.items[*].metadata.annotations.kueue\\.x-k8s\\.io/retriable-in-group}") == "false", 60);
        await kubectl.ShowAsync("patch", "pod", "gang-kueue-1-2", "--type=merge", "-p", """{"metadata":{"finalizers":null}}""");
        await job.WaitAsync("condition Suspended", s => (string?)Job.Condition(s, "Suspended")?["status"] == "True", 60);

        await kubectl.ShowAsync("patch", "dsj", job.Name, "--type=merge", "-p", """{"spec":{"suspend":false}}""");
        JsonNode resumed = await job.WaitAsync("it goes on", s => (int?)s["createdAttempt"] == 2, 60);
        Assert.NotEqual(group, (string?)resumed["gang"]!["group"]);
    }

    private static async Task SaysWhatIsMissing(Kubectl kubectl, Job job, string what)
    {
        JsonNode status = await job.WaitAsync("it says what is missing", s => (string?)Job.Condition(s, "Scheduled")?["reason"] == "GangSchedulerMissing", 60);
        Assert.Contains(what, (string?)Job.Condition(status, "Scheduled")!["message"]);
        Assert.Empty(await job.PodsAsync());
        await job.WaitAsync("an event tells", async () =>
            (await kubectl.ShowAsync("describe", "dsj", job.Name)).Output.Contains("Warning  GangSchedulerMissing", StringComparison.Ordinal), 30);
    }

    private static async Task<JsonNode> GroupAsync(Kubectl kubectl, string kind, string name) =>
        JsonNode.Parse(await kubectl.GetAsync("get", kind, name, "-o", "json"))!;

    /// <summary>An API that other programs bring; it goes at the end of the test.</summary>
    private sealed class Api(Kubectl kubectl, string name) : IAsyncDisposable
    {
        private readonly string _file = RepositoryFiles.Of("tests", "Operator.Cluster.Tests", "apis", $"{name}.yaml");

        public async Task InstallAsync()
        {
            await kubectl.ShowAsync("apply", "-f", _file);
            await kubectl.GetAsync("wait", "--for=condition=Established", "-f", _file, "--timeout=30s");
        }

        public async ValueTask DisposeAsync() => await kubectl.RunAsync("delete", "-f", _file, "--ignore-not-found", "--timeout=60s");
    }
}

using System.Text.Json.Nodes;
using DeepSpeedSharp.Operator.Tests.FakeCluster;

namespace DeepSpeedSharp.Operator.Tests;

/// <summary>Gang schedulers and queues, which a cluster may have or not, against the whole operator.</summary>
public sealed class GangTests
{
    private const string Volcano = """{"image":"worker:1","numNodes":2,"scheduling":{"gang":"Volcano","queue":"research"}}""";
    private const string Coscheduling = """{"image":"worker:1","numNodes":2,"scheduling":{"gang":"Coscheduling","scheduleTimeoutSeconds":90}}""";
    private const string Kueue = """{"image":"worker:1","numNodes":2,"scheduling":{"gang":"Kueue","queue":"research"}}""";

    [Theory]
    [InlineData(Volcano, "Volcano, and this cluster does not have podgroups of scheduling.volcano.sh/v1beta1. Install Volcano")]
    [InlineData(Coscheduling, "Coscheduling, and this cluster does not have podgroups of scheduling.x-k8s.io/v1alpha1. Install scheduler-plugins")]
    [InlineData(Kueue, "Kueue, and this cluster does not have workloads of kueue.x-k8s.io. Install Kueue")]
    public async Task Scheduler_ThatIsNotInstalled_IsWaitedForWithoutHaste(string spec, string problem)
    {
        await using FakeOperator cluster = await FakeOperator.StartAsync();
        var installed = new GangApis();
        cluster.Api.Intercept = installed.AnswerAsync;
        cluster.Apply("a", spec);
        await cluster.Until(() => (string?)cluster.Condition("a", "Scheduled")?["reason"] == "GangSchedulerMissing", "the job says what is missing");

        string message = (string)cluster.Condition("a", "Scheduled")!["message"]!;
        Assert.StartsWith($"scheduling.gang is {problem}", message);
        Assert.Contains("Or suspend the job, choose another scheduling.gang, such as None, and resume it.", message);
        Assert.Equal(message, (string?)cluster.Status("a")["message"]);
        await cluster.Until(() => cluster.Api.Store.All("events").Any(e => (string?)e["reason"] == "GangSchedulerMissing"), "an event tells");
        (int writes, int looks) = (cluster.Api.Writes, installed.Looks);
        await cluster.Settle(300);
        Assert.Equal(writes, cluster.Api.Writes);
        Assert.InRange(installed.Looks - looks, 1, 25);
        Assert.Empty(cluster.Api.Store.All("pods"));
        Assert.Empty(cluster.Api.Store.All("podgroups"));

        installed.All = true;
        await cluster.Until(() => cluster.PodExists("a-1-1") || cluster.Api.Store.Find("podgroups", "a-1") is not null, "the job goes on by itself");
    }

    [Fact]
    public async Task Volcano_GroupFirst_PodsWhenItIsIn_AndAnotherGroupForEachAttempt()
    {
        await using FakeOperator cluster = await StartAsync();
        cluster.Apply("a", Volcano);
        await cluster.Until(() => cluster.Api.Store.Find("podgroups", "a-1") is not null, "the group exists");
        JsonNode group = cluster.Api.Store.Find("podgroups", "a-1")!;
        Assert.Equal("scheduling.volcano.sh/v1beta1", (string?)group["apiVersion"]);
        Assert.Equal((2, "research"), ((int)group["spec"]!["minMember"]!, (string?)group["spec"]!["queue"]));
        Assert.Equal("a", (string?)group["metadata"]!["ownerReferences"]![0]!["name"]);
        SetPhase(cluster, "a-1", "Pending", "resource in cluster is overused");
        await cluster.Until(() => ((string?)cluster.Condition("a", "Scheduled")?["message"])?.Contains("is overused") == true, "the job says why it waits");
        await cluster.UntilQuiet();
        Assert.Empty(cluster.Api.Store.All("pods"));

        SetPhase(cluster, "a-1", "Inqueue");
        await RunAsync(cluster, "a-1-0", "a-1-1");
        Assert.Equal("volcano", (string?)cluster.Api.Store.Find("pods", "a-1-1")!["spec"]!["schedulerName"]);
        Assert.Equal("a-1", (string?)cluster.Api.Store.Find("pods", "a-1-1")!["metadata"]!["annotations"]!["scheduling.k8s.io/group-name"]);

        cluster.Api.End("a-1-1", 1, cluster.Time.GetUtcNow());
        await cluster.Until(() => cluster.Api.Store.Find("podgroups", "a-2") is not null, "attempt 2 has its own group");
        Assert.Null(cluster.Api.Store.Find("podgroups", "a-1"));
        Assert.False(cluster.PodExists("a-2-0"));
        SetPhase(cluster, "a-2", "Inqueue");
        await RunAsync(cluster, "a-2-0", "a-2-1");
        cluster.Api.End("a-2-0", 0, cluster.Time.GetUtcNow());
        cluster.Api.End("a-2-1", 0, cluster.Time.GetUtcNow());
        await cluster.UntilPhase("a", "Complete");
        await cluster.Until(() => cluster.Api.Store.All("podgroups").Count == 0, "the group goes");
    }

    [Fact]
    public async Task Volcano_GroupThatSomebodyDeletes_IsMadeAgain()
    {
        await using FakeOperator cluster = await StartAsync();
        cluster.Apply("a", Volcano);
        await cluster.Until(() => cluster.Api.Store.Find("podgroups", "a-1") is not null, "the group exists");
        await cluster.UntilQuiet();

        cluster.Api.Kill("podgroups", "a-1");

        await cluster.Until(() => cluster.Api.Store.Find("podgroups", "a-1") is not null, "the group exists again");
    }

    [Fact]
    public async Task Coscheduling_GroupAndPodsAtOnce_GroupGoesWhileTheJobRests()
    {
        await using FakeOperator cluster = await StartAsync();
        cluster.Apply("a", Coscheduling);
        await RunAsync(cluster, "a-1-0", "a-1-1");
        JsonNode group = cluster.Api.Store.Find("podgroups", "a-1")!;
        Assert.Equal("scheduling.x-k8s.io/v1alpha1", (string?)group["apiVersion"]);
        Assert.Equal((2, 90), ((int)group["spec"]!["minMember"]!, (int)group["spec"]!["scheduleTimeoutSeconds"]!));
        JsonNode pod = cluster.Api.Store.Find("pods", "a-1-1")!;
        Assert.Equal(("scheduler-plugins-scheduler", "a-1"),
            ((string?)pod["spec"]!["schedulerName"], (string?)pod["metadata"]!["labels"]!["scheduling.x-k8s.io/pod-group"]));

        cluster.Edit("a", """{"suspend":true}""");
        await cluster.Until(() => (string?)cluster.Condition("a", "Suspended")!["status"] == "True", "it rests");
        Assert.Empty(cluster.Api.Store.All("podgroups"));
        cluster.Edit("a", """{"suspend":false,"numNodes":3}""");
        await cluster.Until(() => cluster.PodExists("a-2-2"), "it goes on");
        Assert.Equal(3, (int)cluster.Api.Store.Find("podgroups", "a-2")!["spec"]!["minMember"]!);
    }

    [Fact]
    public async Task Kueue_LabelOfTheJob_IsEnough_AndItsGroupIsClosedAtTheEnd()
    {
        await using FakeOperator cluster = await StartAsync();
        ActLikeKueue(cluster);
        cluster.Api.Store.Create(new ResourcePath("deepspeedjobs", "default", null, null), JsonNode.Parse("""
            {"apiVersion":"deepspeedsharp.dev/v1alpha1","kind":"DeepSpeedJob",
             "metadata":{"name":"a","labels":{"kueue.x-k8s.io/queue-name":"research"}},
             "spec":{"image":"worker:1","numNodes":2,"restart":{"maxRestarts":1}}}
            """)!.AsObject());
        await cluster.Until(() => (string?)cluster.Condition("a", "Scheduled")?["reason"] == "QueuedByKueue", "it is queued");
        JsonNode metadata = cluster.Api.Store.Find("pods", "a-1-1")!["metadata"]!;
        string group = (string)metadata["labels"]!["kueue.x-k8s.io/pod-group-name"]!;
        Assert.Equal(("research", "1"), ((string?)metadata["labels"]!["kueue.x-k8s.io/queue-name"], (string?)metadata["labels"]!["kueue.x-k8s.io/pod-group-pod-index"]));
        Assert.Equal("2", (string?)metadata["annotations"]!["kueue.x-k8s.io/pod-group-total-count"]);
        Admit(cluster, "a-1-0", "a-1-1");
        await RunAsync(cluster, "a-1-0", "a-1-1");

        cluster.Api.End("a-1-0", 1, cluster.Time.GetUtcNow());
        await cluster.Until(() => cluster.Api.Store.Find("pods", "a-1-1")!["metadata"]!["deletionTimestamp"] is not null, "the other pod is told to end");
        cluster.Api.End("a-1-1", 143, cluster.Time.GetUtcNow());
        await cluster.Until(() => cluster.PodExists("a-2-1"), "attempt 2 begins, although Kueue keeps the pods of attempt 1");
        Assert.Equal(group, (string?)cluster.Api.Store.Find("pods", "a-2-1")!["metadata"]!["labels"]!["kueue.x-k8s.io/pod-group-name"]);
        Assert.DoesNotContain(cluster.Api.Store.All("pods"), Closes);
        Admit(cluster, "a-2-0", "a-2-1");
        await RunAsync(cluster, "a-2-0", "a-2-1");

        cluster.Api.End("a-2-0", 1, cluster.Time.GetUtcNow());
        await cluster.UntilPhase("a", "Failed");
        await cluster.Until(() => cluster.Api.Store.All("pods").Any(Closes), "Kueue is told that no pods follow");
        await cluster.UntilQuiet();
        Assert.Single(cluster.Api.Store.All("pods"), Closes);
    }

    [Fact]
    public async Task Kueue_JobDeletedWhileItIsQueued_LeavesNoPodsBehind()
    {
        await using FakeOperator cluster = await StartAsync();
        ActLikeKueue(cluster);
        cluster.Apply("a", Kueue);
        await cluster.Until(() => (string?)cluster.Condition("a", "Scheduled")?["reason"] == "QueuedByKueue", "it is queued");
        string group = (string)cluster.Status("a")["gang"]!["group"]!;
        cluster.Api.Store.Create(new ResourcePath("workloads", "default", null, null), new JsonObject { ["metadata"] = new JsonObject { ["name"] = group } });

        cluster.Api.Kill("deepspeedjobs", "a");
        cluster.Api.Kill("pods", "a-1-0");
        cluster.Api.Kill("pods", "a-1-1");

        await cluster.Until(() => cluster.Api.Store.All("pods").Any(Closes), "Kueue is told that no pods follow");
        await cluster.Until(() => cluster.Api.Store.Find("workloads", group) is null, "the Workload, without which Kueue lets them go, is deleted");
    }

    private static async Task<FakeOperator> StartAsync()
    {
        FakeOperator cluster = await FakeOperator.StartAsync();
        cluster.Api.Intercept = new GangApis { All = true }.AnswerAsync;
        return cluster;
    }

    private static bool Closes(JsonObject pod) => (string?)pod["metadata"]!["annotations"]?["kueue.x-k8s.io/retriable-in-group"] == "false";

    // What Kueue's webhook does to a pod with its label.
    private static void ActLikeKueue(FakeOperator cluster) => cluster.Api.Store.Creating = (plural, body) =>
    {
        if (plural == "pods" && body["metadata"]!["labels"]!["kueue.x-k8s.io/queue-name"] is not null)
        {
            body["metadata"]!["finalizers"] = new JsonArray("kueue.x-k8s.io/managed");
            body["spec"]!["schedulingGates"] = new JsonArray(new JsonObject { ["name"] = "kueue.x-k8s.io/admission" });
        }
    };

    private static void Admit(FakeOperator cluster, params string[] pods) =>
        Array.ForEach(pods, pod => cluster.Api.Store.Change("pods", pod, p => p["spec"]!.AsObject().Remove("schedulingGates")));

    private static void SetPhase(FakeOperator cluster, string group, string phase, string? why = null) =>
        cluster.Api.Store.Change("podgroups", group, g => g["status"] = new JsonObject
        {
            ["phase"] = phase,
            ["conditions"] = why is null ? null : new JsonArray(new JsonObject { ["type"] = "Unschedulable", ["status"] = "True", ["message"] = why }),
        });

    private static async Task RunAsync(FakeOperator cluster, params string[] pods)
    {
        await cluster.Until(() => pods.All(cluster.PodExists), "pods exist");
        Array.ForEach(pods, pod => cluster.Api.Run(pod));
        await cluster.UntilPhase("a", "Running");
    }
}

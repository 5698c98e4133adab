using System.Text.Json.Nodes;
using DeepSpeedSharp.Operator.Tests.FakeCluster;

namespace DeepSpeedSharp.Operator.Tests.Scenarios;

/// <summary>Stories of a whole job that other operators' tests tell; see <see cref="ScenarioTable"/>.</summary>
public sealed class ClusterScenarios
{
    [Fact]
    [Trait("Scenario", "5")]
    public async Task Pod_OfTheSameNameAndAnotherOwner_IsReportedAndLeftAlone()
    {
        await using FakeOperator cluster = await FakeOperator.StartAsync();
        Create(cluster, "pods", """{"metadata":{"name":"a-1-1","labels":{"mine":"yes"}},"spec":{},"status":{"phase":"Running"}}""");
        cluster.Apply("a");

        await cluster.Until(() => (string?)cluster.Condition("a", "Scheduled")?["reason"] == "NameConflict", "the job says so");
        await cluster.Until(() => cluster.Api.Store.All("events").Any(e => (string?)e["reason"] == "NameConflict"), "an event tells");

        Assert.Contains("a-1-1", (string?)cluster.Condition("a", "Scheduled")!["message"]);
        Assert.Equal("yes", (string?)cluster.Api.Store.Find("pods", "a-1-1")!["metadata"]!["labels"]!["mine"]);
        cluster.Api.Kill("pods", "a-1-1");
        await cluster.Until(() => cluster.PodExists("a-1-1") && (int?)cluster.Status("a")["createdAttempt"] == 1, "the job has all its pods");
        Assert.Equal((1, 0, 0), Counters(cluster));
    }

    [Fact]
    [Trait("Scenario", "6")]
    public async Task Service_DeletedByHand_IsMadeAgain()
    {
        await using FakeOperator cluster = await FakeOperator.StartRunningAsync();
        await cluster.UntilQuiet();
        string? before = (string?)cluster.Api.Store.Find("services", "a")!["metadata"]!["uid"];

        cluster.Api.Kill("services", "a");
        await cluster.Until(() => cluster.Api.Store.Find("services", "a") is not null, "it is there again");
        await cluster.UntilQuiet();

        JsonNode service = cluster.Api.Store.Find("services", "a")!;
        Assert.NotEqual(before, (string?)service["metadata"]!["uid"]);
        Assert.Equal("a", (string?)service["metadata"]!["ownerReferences"]![0]!["name"]);
        Assert.Equal("Running", (string?)cluster.Status("a")["phase"]);
        Assert.Equal((1, 0, 0), Counters(cluster));
    }

    [Fact]
    [Trait("Scenario", "21")]
    [Trait("Scenario", "24")]
    public async Task Job_FailsAndStartsAgain_RestartingGoesTrueAndFalse()
    {
        await using FakeOperator cluster = await FakeOperator.StartRunningAsync();
        cluster.Api.End("a-1-1", 1, cluster.Time.GetUtcNow(), "boom");
        await cluster.Until(() => (string?)cluster.Condition("a", "Restarting")?["status"] == "True", "it says that it restarts");
        Assert.Equal("NodeFailed", (string?)cluster.Condition("a", "Restarting")!["reason"]);

        await cluster.Until(() => cluster.PodExists("a-2-1"), "pods of attempt 2 exist");
        cluster.Api.Run("a-2-0");
        cluster.Api.Run("a-2-1");
        await cluster.UntilPhase("a", "Running");

        Assert.Equal(("False", "AllNodesReady"), ((string?)cluster.Condition("a", "Restarting")!["status"], (string?)cluster.Condition("a", "Restarting")!["reason"]));
        Assert.Null(cluster.Status("a")["nextStartTime"]);
        cluster.Api.End("a-2-0", 0, cluster.Time.GetUtcNow());
        cluster.Api.End("a-2-1", 0, cluster.Time.GetUtcNow());
        await cluster.UntilPhase("a", "Complete");
        Assert.Equal((2, 1, 0), Counters(cluster));
        Assert.NotNull(cluster.Status("a")["completionTime"]);
    }

    [Fact]
    [Trait("Scenario", "36")]
    [Trait("Scenario", "37")]
    public async Task Job_CreatedSuspendedThenRunThenSuspended_HasNoPodsAndNoCounts()
    {
        await using FakeOperator cluster = await FakeOperator.StartAsync();
        cluster.Apply("a", """{"image":"worker:1","numNodes":2,"suspend":true}""");
        await cluster.Until(() => (string?)cluster.Condition("a", "Suspended")?["status"] == "True", "it rests");
        Assert.Empty(cluster.Api.Store.All("pods"));
        Assert.Empty(cluster.Api.Store.All("services"));
        Assert.Null(cluster.Status("a")["startTime"]);

        cluster.Edit("a", """{"suspend":false}""");
        await cluster.Until(() => cluster.PodExists("a-1-1"), "it starts");
        cluster.Api.Run("a-1-0");
        cluster.Api.Run("a-1-1");
        await cluster.UntilPhase("a", "Running");
        Assert.Equal("False", (string?)cluster.Condition("a", "Suspended")!["status"]);
        cluster.Edit("a", """{"suspend":true}""");
        await cluster.Until(() => (string?)cluster.Condition("a", "Suspended")?["status"] == "True", "it rests again");
        await cluster.Settle(5);

        JsonNode status = cluster.Status("a");
        Assert.Equal(("0/2", 0, 0, 0), ((string?)status["nodesText"], (int)status["nodes"]!["ready"]!, (int)status["nodes"]!["created"]!, (int)status["replicas"]!));
        Assert.Equal("False", (string?)cluster.Condition("a", "Running")!["status"]);
        Assert.Empty(cluster.Api.Store.All("pods"));
    }

    [Fact]
    [Trait("Scenario", "39")]
    public async Task Template_EditedWhileSuspended_IsSeenOnTheNextPods()
    {
        await using FakeOperator cluster = await FakeOperator.StartRunningAsync();
        cluster.Edit("a", """{"suspend":true}""");
        await cluster.Until(() => (string?)cluster.Condition("a", "Suspended")?["status"] == "True", "it is suspended");

        cluster.Edit("a", """
            {"template":{"metadata":{"labels":{"team":"nlp"},"annotations":{"net":"rdma"}},"spec":{"nodeSelector":{"gpu":"h200"},
             "tolerations":[{"key":"gpu","operator":"Exists"}],"priorityClassName":"high"}}}
            """);
        cluster.Edit("a", """{"suspend":false}""");
        await cluster.Until(() => cluster.PodExists("a-2-1"), "it starts again");

        JsonNode pod = cluster.Api.Store.Find("pods", "a-2-1")!;
        Assert.Equal(("nlp", "rdma", "h200", "high"), ((string?)pod["metadata"]!["labels"]!["team"], (string?)pod["metadata"]!["annotations"]!["net"],
            (string?)pod["spec"]!["nodeSelector"]!["gpu"], (string?)pod["spec"]!["priorityClassName"]));
        Assert.Contains(pod["spec"]!["tolerations"]!.AsArray(), t => (string?)t!["key"] == "gpu");
    }

    [Theory]
    [InlineData("Retain", 0)]
    [InlineData("Delete", 1)]
    [Trait("Scenario", "49")]
    public async Task Claim_OfAJob_IsOwnedByItOnlyWhenItShallGoWithIt(string retain, int owners)
    {
        await using FakeOperator cluster = await FakeOperator.StartAsync();
        cluster.Apply("a", $$"""
            {"image":"worker:1","suspend":true,"checkpoint":{"retain":"{{retain}}","volumeClaimTemplate":{"metadata":{"labels":{"tier":"fast"},"annotations":{"backup":"daily"} },
             "spec":{"accessModes":["ReadWriteMany"],"resources":{"requests":{"storage":"1Ti"} } } } } }
            """);
        await cluster.Until(() => (string?)cluster.Condition("a", "Suspended")?["status"] == "True", "it rests");
        Assert.Null(cluster.Api.Store.Find("persistentvolumeclaims", "a-checkpoints"));
        cluster.Edit("a", """{"suspend":false}""");
        await cluster.Until(() => cluster.PodExists("a-1-0"), "it starts");

        JsonNode metadata = cluster.Api.Store.Find("persistentvolumeclaims", "a-checkpoints")!["metadata"]!;

        Assert.Equal(owners, metadata["ownerReferences"]?.AsArray().Count ?? 0);
        Assert.Equal(("fast", "daily", "a"), ((string?)metadata["labels"]!["tier"], (string?)metadata["annotations"]!["backup"],
            (string?)metadata["labels"]!["deepspeedsharp.dev/job-name"]));
    }

    [Fact]
    [Trait("Scenario", "51")]
    public async Task ConfigMap_EditedWhileTheJobRuns_AppliesToTheNextStart()
    {
        await using FakeOperator cluster = await FakeOperator.StartAsync();
        Create(cluster, "configmaps", """{"metadata":{"name":"mine"},"data":{"ds_config.json":"{\"train_batch_size\": 4}"}}""");
        cluster.Apply("a", """{"image":"worker:1","configRef":{"name":"mine"}}""");
        await cluster.Until(() => cluster.PodExists("a-1-0"), "it starts");
        cluster.Api.Run("a-1-0");
        await cluster.UntilPhase("a", "Running");

        cluster.Api.Store.Change("configmaps", "mine", m => m["data"]!["ds_config.json"] = "{\"train_batch_size\": 8}");
        await cluster.Settle(30);
        Assert.Equal("{\"train_batch_size\": 4}", (string?)cluster.Api.Store.Find("configmaps", "a-1")!["data"]!["ds_config.json"]);
        Assert.Equal((1, 0, 0), Counters(cluster));
        cluster.Api.End("a-1-0", 1, cluster.Time.GetUtcNow());
        await cluster.Until(() => cluster.PodExists("a-2-0"), "it starts again");

        Assert.Equal("{\"train_batch_size\": 8}", (string?)cluster.Api.Store.Find("configmaps", "a-2")!["data"]!["ds_config.json"]);
    }

    [Fact]
    [Trait("Scenario", "58")]
    public async Task Metrics_OfManyPasses_CountEachTransitionOnce()
    {
        await using FakeOperator cluster = await FakeOperator.StartRunningAsync();
        cluster.Api.End("a-1-1", 1, cluster.Time.GetUtcNow());
        await cluster.Until(() => cluster.PodExists("a-2-1"), "pods of attempt 2 exist");
        foreach (string pod in new[] { "a-2-0", "a-2-1" })
        {
            cluster.Api.Run(pod);
            await cluster.UntilQuiet();
        }

        await cluster.UntilPhase("a", "Running");
        cluster.Api.End("a-2-0", 0, cluster.Time.GetUtcNow());
        cluster.Api.End("a-2-1", 0, cluster.Time.GetUtcNow());
        await cluster.UntilPhase("a", "Complete");
        await cluster.Settle(700); // more than one look at all jobs

        string metrics = await cluster.ScrapeAsync();

        Assert.Contains("""deepspeedjob_restarts_total{namespace="default",cause="application"} 1""", metrics);
        Assert.Contains("""deepspeedjob_finished_total{namespace="default",result="complete",reason="AllNodesSucceeded"} 1""", metrics);
        Assert.Contains("""deepspeedjob_time_to_running_seconds_count{namespace="default"} 1""", metrics);
        Assert.Contains("deepspeedjob_pods_created_total 4", metrics);
    }

    private static void Create(FakeOperator cluster, string plural, string json) =>
        cluster.Api.Store.Create(new ResourcePath(plural, "default", null, null), JsonNode.Parse(json)!.AsObject());

    private static (int Attempt, int Restarts, int Disruptions) Counters(FakeOperator cluster) =>
        ((int)cluster.Status("a")["attempt"]!, (int)cluster.Status("a")["restarts"]!, (int)cluster.Status("a")["disruptions"]!);
}

using System.Text.Json.Nodes;
using DeepSpeedSharp.Operator.Tests.FakeCluster;

namespace DeepSpeedSharp.Operator.Tests;

public sealed class ControllerTests
{
    [Fact]
    public async Task Job_AllNodesSucceed_IsComplete()
    {
        await using FakeOperator cluster = await FakeOperator.StartAsync();
        cluster.Apply("a");

        await cluster.Until(() => cluster.PodExists("a-1-0") && cluster.PodExists("a-1-1"), "pods exist");
        Assert.Equal("Scheduling", (string?)cluster.Status("a")["phase"]);
        cluster.Api.Run("a-1-0");
        cluster.Api.Run("a-1-1");
        await cluster.UntilPhase("a", "Running");
        Assert.Equal("2/2", (string?)cluster.Status("a")["nodesText"]);
        cluster.Api.End("a-1-0", 0, cluster.Time.GetUtcNow(), """{"kind":"done","step":300,"loss":1.25,"message":"trained"}""");
        cluster.Api.End("a-1-1", 0, cluster.Time.GetUtcNow());
        await cluster.UntilPhase("a", "Complete");

        JsonNode status = cluster.Status("a");
        Assert.Equal(1, (int)status["attempt"]!);
        Assert.Equal(0, (int)status["restarts"]!);
        Assert.Equal("0-1", (string?)status["succeededNodes"]);
        Assert.Equal(300, (int)status["progress"]!["step"]!);
        Assert.Equal("1.25", (string?)status["progress"]!["loss"]);
        Assert.Equal("True", (string?)cluster.Condition("a", "Complete")!["status"]);
        Assert.Equal("False", (string?)cluster.Condition("a", "Failed")!["status"]);
        Assert.True(cluster.PodExists("a-1-0"), "finished pods are kept");
        Assert.NotNull(cluster.Api.Store.Find("services", "a"));
        Assert.NotNull(cluster.Api.Store.Find("configmaps", "a-1"));
    }

    [Fact]
    public async Task Job_NothingChanges_WritesNothing()
    {
        await using FakeOperator cluster = await FakeOperator.StartRunningAsync();
        await cluster.UntilQuiet();
        int writes = cluster.Api.Writes;

        await cluster.Settle(1300);
        await cluster.UntilQuiet();

        Assert.Equal(writes, cluster.Api.Writes);
    }

    [Fact]
    public async Task Counts_OfASlowStart_AreWrittenLaterAndNotLookedAtAllTheTime()
    {
        await using FakeOperator cluster = await FakeOperator.StartAsync();
        cluster.Apply("a");
        await cluster.Until(() => (int?)cluster.Status("a")["createdAttempt"] == 1, "pods exist");
        await cluster.UntilQuiet();
        cluster.Api.Run("a-1-0");
        (int writes, double passes) = (cluster.Api.Writes, await PassesAsync());

        await cluster.Until(() => (string?)cluster.Status("a")["nodesText"] == "1/2", "the status says so");
        await cluster.UntilQuiet();

        Assert.Equal(writes + 1, cluster.Api.Writes);
        Assert.InRange(await PassesAsync() - passes, 1, 4);

        async Task<double> PassesAsync() => (await cluster.ScrapeAsync()).Split('\n').Where(l => l.StartsWith("controller_runtime_reconcile_total{", StringComparison.Ordinal))
            .Sum(l => double.Parse(l.Split(' ')[^1], System.Globalization.CultureInfo.InvariantCulture));
    }

    [Fact]
    public async Task Node_Fails_RestartsAllAfterBackoff()
    {
        await using FakeOperator cluster = await FakeOperator.StartRunningAsync();

        cluster.Api.End("a-1-1", 137, cluster.Time.GetUtcNow());
        DateTimeOffset failed = cluster.Time.GetUtcNow();
        await cluster.UntilPhase("a", "Restarting");
        await cluster.Until(() => cluster.PodExists("a-2-1"), "pods of attempt 2 exist");

        Assert.InRange((cluster.Time.GetUtcNow() - failed).TotalSeconds, 10, 40);
        Assert.False(cluster.PodExists("a-1-0"));
        Assert.True(cluster.PodExists("a-1-1"), "the pod that failed first is kept");
        Assert.Null(cluster.Api.Store.Find("configmaps", "a-1"));
        Assert.NotNull(cluster.Api.Store.Find("configmaps", "a-2"));
        JsonNode status = cluster.Status("a");
        Assert.Equal(1, (int)status["restarts"]!);
        Assert.Equal(0, (int)status["disruptions"]!);
        Assert.Equal("a-1-1", (string?)status["lastFailures"]![0]!["pod"]);
        Assert.Equal(137, (int)status["lastFailures"]![0]!["exitCode"]!);
        JsonArray env = cluster.Api.Store.Find("pods", "a-2-1")!["spec"]!["containers"]![0]!["env"]!.AsArray();
        Assert.Contains(env, e => (string?)e!["name"] == "MASTER_ADDR" && (string?)e["value"] == "a-2-0.a");
    }

    [Fact]
    public async Task Pod_Deleted_RestartsWithoutCounting()
    {
        await using FakeOperator cluster = await FakeOperator.StartRunningAsync();

        cluster.Api.Kill("pods", "a-1-1");
        cluster.Api.End("a-1-0", 69, cluster.Time.GetUtcNow());
        await cluster.Until(() => cluster.PodExists("a-2-1"), "pods of attempt 2 exist");

        Assert.Equal(0, (int)cluster.Status("a")["restarts"]!);
        Assert.Equal(1, (int)cluster.Status("a")["disruptions"]!);
        Assert.DoesNotContain("pods/a-1-1", cluster.Api.Store.Created.SkipWhile(c => c != "pods/a-1-1").Skip(1));
    }

    [Fact]
    public async Task Spec_Invalid_FailsWithoutPodsUntilEdited()
    {
        await using FakeOperator cluster = await FakeOperator.StartAsync();
        cluster.Apply("a", """
            {"image":"worker:1","numNodes":2,"scheduling":{"queue":"q"},"config":{"train_batch_size":30,"train_micro_batch_size_per_gpu":4,"gradient_accumulation_steps":1}}
            """);

        await cluster.UntilPhase("a", "Failed");
        JsonNode failed = cluster.Condition("a", "Failed")!;
        Assert.Equal("InvalidSpec", (string?)failed["reason"]);
        Assert.Contains("spec.scheduling.queue: it has no meaning with scheduling.gang None", (string?)failed["message"]);
        Assert.Contains("spec.config.train_batch_size: 30 is not 4 (micro batch) x 1 (accumulation) x 2 (ranks) = 8", (string?)failed["message"]);
        await cluster.Until(() => cluster.Api.Store.All("events").Any(e => (string?)e["reason"] == "InvalidSpec"), "an event tells");
        int requests = cluster.Api.Requests.Count;
        await cluster.Settle(60);
        Assert.Equal(requests, cluster.Api.Requests.Count);
        Assert.Empty(cluster.Api.Store.All("pods"));
        cluster.Edit("a", """{"scheduling":null,"config":{"train_batch_size":8}}""");
        await cluster.Until(() => cluster.PodExists("a-1-1"), "pods exist");
        Assert.Equal("False", (string?)cluster.Condition("a", "Failed")!["status"]);
    }

    [Fact]
    public async Task Job_OfWrongTypes_FailsAndHidesNoOther()
    {
        await using FakeOperator cluster = await FakeOperator.StartAsync();
        cluster.Apply("bad", """{"image":"worker:1","numNodes":"two"}""");
        cluster.Apply("good");

        await cluster.Until(() => cluster.PodExists("good-1-1"), "the good one starts");
        await cluster.UntilPhase("bad", "Failed");

        Assert.Contains("spec.numNodes", (string?)cluster.Condition("bad", "Failed")!["message"]);
    }

    [Fact]
    public async Task ConfigMap_Missing_WaitsAndThenStarts()
    {
        await using FakeOperator cluster = await FakeOperator.StartAsync();
        cluster.Apply("a", """{"image":"worker:1","configRef":{"name":"mine"}}""");
        await cluster.Until(() => (string?)cluster.Condition("a", "Scheduled")?["reason"] == "ConfigNotFound", "the job waits");
        Assert.Empty(cluster.Api.Store.All("pods"));

        cluster.Api.Store.Create(new ResourcePath("configmaps", "default", null, null), JsonNode.Parse(
            """{"metadata":{"name":"mine"},"data":{"ds_config.json":"{\"train_batch_size\": 4} // mine"}}""")!.AsObject());
        await cluster.Until(() => cluster.PodExists("a-1-0"), "the job starts");

        Assert.Equal("{\"train_batch_size\": 4} // mine",
            (string?)cluster.Api.Store.Find("configmaps", "a-1")!["data"]!["ds_config.json"]);
    }

    [Fact]
    public async Task Job_SuspendedAndResumed_StartsAnewWithoutCounting()
    {
        await using FakeOperator cluster = await FakeOperator.StartRunningAsync();

        cluster.Edit("a", """{"suspend":true}""");
        await cluster.Until(() => (string?)cluster.Condition("a", "Suspended")!["status"] == "True", "it is suspended");
        Assert.Empty(cluster.Api.Store.All("pods"));
        await cluster.Settle();
        Assert.Empty(cluster.Api.Store.All("pods"));
        cluster.Edit("a", """{"suspend":false,"numNodes":3}""");
        await cluster.Until(() => cluster.PodExists("a-2-2"), "it starts again, with the new size");

        JsonNode status = cluster.Status("a");
        Assert.Equal((2, 0, 0), ((int)status["attempt"]!, (int)status["restarts"]!, (int)status["disruptions"]!));
        Assert.Equal("Resumed", (string?)cluster.Condition("a", "Suspended")!["reason"]);
    }

    [Fact]
    public async Task Pods_Unschedulable_SaysWhy()
    {
        await using FakeOperator cluster = await FakeOperator.StartAsync();
        cluster.Apply("a");
        await cluster.Until(() => cluster.PodExists("a-1-1"), "pods exist");
        cluster.Api.Unschedulable("a-1-0", "0/40 nodes are available: 40 Insufficient nvidia.com/gpu.");

        await cluster.Until(() => (string?)cluster.Condition("a", "Scheduled")!["reason"] == "Unschedulable", "the condition says so");

        Assert.Equal("1 of 2 pods found no place; a-1-0: 0/40 nodes are available: 40 Insufficient nvidia.com/gpu.",
            (string?)cluster.Condition("a", "Scheduled")!["message"]);
        Assert.Equal((string?)cluster.Condition("a", "Scheduled")!["message"], (string?)cluster.Status("a")["message"]);
    }

    [Fact]
    public async Task Service_OfAnotherOwner_WaitsForItToGo()
    {
        await using FakeOperator cluster = await FakeOperator.StartAsync();
        cluster.Api.Store.Create(new ResourcePath("services", "default", null, null), JsonNode.Parse("""{"metadata":{"name":"a"}}""")!.AsObject());
        cluster.Apply("a");
        await cluster.Until(() => (string?)cluster.Condition("a", "Scheduled")?["reason"] == "NameConflict", "the job waits");

        cluster.Api.Kill("services", "a");

        await cluster.Until(() => cluster.PodExists("a-1-1"), "the job starts");
    }

    [Fact]
    public async Task ApiServer_AwayFor30Seconds_NothingIsRestarted()
    {
        await using FakeOperator cluster = await FakeOperator.StartRunningAsync();

        cluster.Api.Down();
        await cluster.Settle(30);
        cluster.Api.Up();
        cluster.Api.End("a-1-0", 0, cluster.Time.GetUtcNow());
        cluster.Api.End("a-1-1", 0, cluster.Time.GetUtcNow());
        await cluster.UntilPhase("a", "Complete");

        Assert.Equal(1, (int)cluster.Status("a")["attempt"]!);
        Assert.Equal(2, cluster.Api.Store.Created.Count(c => c.StartsWith("pods/", StringComparison.Ordinal)));
    }

    [Fact]
    public async Task Job_DeletedDuringItsPass_IsNoError()
    {
        await using FakeOperator cluster = await FakeOperator.StartAsync();
        cluster.Api.OnWrite = (_, path) =>
        {
            if (path.EndsWith("/status", StringComparison.Ordinal))
            {
                cluster.Api.Kill("deepspeedjobs", "a");
            }

            return Crash.None;
        };
        cluster.Apply("a");
        await cluster.Until(() => cluster.Api.Writes > 0, "the operator writes");
        await cluster.Settle();

        Assert.Contains("controller_runtime_reconcile_total{controller=\"deepspeedjob\",result=\"error\"} 0", await cluster.ScrapeAsync());
        Assert.Equal(1, cluster.Api.Writes);
    }

    [Fact]
    public async Task Training_ThatNeverMoves_IsAHang()
    {
        await using FakeOperator cluster = await FakeOperator.StartAsync();
        cluster.Apply("a", """{"image":"worker:1","numNodes":2,"progressDeadlineSeconds":60,"metrics":{"port":1}}""");
        await cluster.Until(() => cluster.PodExists("a-1-1"), "pods exist");
        cluster.Api.Run("a-1-0");
        cluster.Api.Run("a-1-1");
        await cluster.UntilPhase("a", "Running");

        await cluster.Until(() => (int?)cluster.Status("a")["attempt"] == 2, "it starts again");

        Assert.Equal("Hang", (string?)cluster.Status("a")["lastFailures"]![0]!["reason"]);
        Assert.Contains("training hangs before its first step", (string?)cluster.Status("a")["lastFailures"]![0]!["message"]);
        await cluster.Until(() => cluster.Api.Store.All("events").Any(e => (string?)e["reason"] == "Hang"), "an event tells");
    }

    [Fact]
    public async Task Machine_ThatDoesNotAnswer_IsLeftWithoutWaitingForItsPods()
    {
        await using FakeOperator cluster = await FakeOperator.StartAsync();
        cluster.Api.Store.PodsEndSlowly = true;
        cluster.Api.Machine("node-1", isReady: true, cluster.Time.GetUtcNow());
        cluster.Api.Machine("node-2", isReady: true, cluster.Time.GetUtcNow());
        cluster.Apply("a", """{"image":"worker:1","numNodes":2,"restart":{"nodeLossSeconds":20,"strategy":"Replace"}}""");
        await cluster.Until(() => cluster.PodExists("a-1-1"), "pods exist");
        cluster.Api.Run("a-1-0");
        cluster.Api.Run("a-1-1", machine: "node-2");
        await cluster.UntilPhase("a", "Running");

        DateTimeOffset cut = cluster.Time.GetUtcNow();
        cluster.Api.Machine("node-2", isReady: false, cut);
        await cluster.Until(() => cluster.PodExists("a-2-1") && !cluster.PodExists("a-1-1"), "the job goes on elsewhere");

        Assert.True(cluster.Time.GetUtcNow() - cut >= TimeSpan.FromSeconds(20), "too early");
        Assert.Equal((0, 1), ((int)cluster.Status("a")["restarts"]!, (int)cluster.Status("a")["disruptions"]!));
        Assert.Equal("NodeLost", (string?)cluster.Status("a")["lastFailures"]![0]!["reason"]);
        Assert.True(cluster.PodExists("a-1-0"), "the pod of the machine that answers ends by itself");
    }

    [Fact]
    public async Task Job_OfAnotherController_IsLeftAlone()
    {
        await using FakeOperator cluster = await FakeOperator.StartAsync();
        cluster.Apply("theirs", """{"image":"worker:1","managedBy":"kueue.x-k8s.io/multikueue"}""");
        cluster.Apply("ours", """{"image":"worker:1","managedBy":"deepspeedsharp.dev/controller"}""");
        await cluster.Until(() => cluster.PodExists("ours-1-0"), "ours starts");
        await cluster.UntilQuiet();

        Assert.Null(cluster.Api.Store.Find("deepspeedjobs", "theirs")!["status"]);
        Assert.False(cluster.PodExists("theirs-1-0"));
    }

    [Fact]
    public async Task Job_AfterItsTime_IsDeleted()
    {
        await using FakeOperator cluster = await FakeOperator.StartAsync();
        cluster.Apply("a", """{"image":"worker:1","ttlSecondsAfterFinished":30,"scheduling":{"podDisruptionBudget":true}}""");
        await cluster.Until(() => cluster.PodExists("a-1-0"), "the pod exists");
        Assert.NotNull(cluster.Api.Store.Find("poddisruptionbudgets", "a"));
        cluster.Api.End("a-1-0", 0, cluster.Time.GetUtcNow());
        await cluster.UntilPhase("a", "Complete");
        await cluster.Until(() => cluster.Api.Store.Find("poddisruptionbudgets", "a") is null, "the budget goes");

        await cluster.Until(() => cluster.Api.Store.Find("deepspeedjobs", "a") is null, "the job goes");
    }

    [Fact]
    public async Task Batch_OfAnElasticJob_IsResolvedForItsSize()
    {
        await using FakeOperator cluster = await FakeOperator.StartAsync();
        cluster.Apply("a", """
            {"image":"torch:1","launcher":"Torchrun","numNodes":3,"elastic":{"minNodes":1,"maxNodes":4},
             "config":{"train_batch_size":12,"train_micro_batch_size_per_gpu":2,"unknown_to_us":1}}
            """);
        await cluster.Until(() => cluster.PodExists("a-1-2"), "pods exist");
        Assert.Equal("1-3", (string?)cluster.Status("a")["elastic"]!["nodeCounts"]);
        cluster.Edit("a", """{"numNodes":2}""");
        await cluster.Until(() => (string?)cluster.Status("a")["nodesText"] == "0/2" && cluster.PodExists("a-2-1"), "two pods exist");
        await cluster.UntilQuiet();

        JsonNode status = cluster.Status("a");
        Assert.Equal((12, 2, 3), ((int)status["batch"]!["trainBatchSize"]!, (int)status["batch"]!["microBatchSize"]!, (int)status["batch"]!["gradientAccumulationSteps"]!));
        Assert.Equal((2, 1, 2), ((int)status["attempt"]!, (int)status["resizes"]!, (int)status["replicas"]!));
    }

    [Fact]
    public async Task Operator_WithALease_WorksWhileItLeads()
    {
        await using FakeOperator cluster = await FakeOperator.StartAsync(new OperatorOptions
        {
            Leader = new Operator.Runtime.LeaderOptions { Name = "lock", Namespace = "system", Identity = "me", RenewDeadline = TimeSpan.FromHours(1), Duration = TimeSpan.FromHours(2) },
        });
        cluster.Apply("a");

        await cluster.Until(() => cluster.PodExists("a-1-1"), "pods exist");

        Assert.Equal("me", (string?)cluster.Api.Store.Find("leases", "lock", "system")!["spec"]!["holderIdentity"]);
    }
}

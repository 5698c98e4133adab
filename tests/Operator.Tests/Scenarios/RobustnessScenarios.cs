using System.Text.Json.Nodes;
using DeepSpeedSharp.Operator.Api.Schema;
using DeepSpeedSharp.Operator.Runtime;
using DeepSpeedSharp.Operator.Tests.Chaos;
using DeepSpeedSharp.Operator.Tests.FakeCluster;
using k8s;
using k8s.Models;

namespace DeepSpeedSharp.Operator.Tests.Scenarios;

/// <summary>What an operator has to bear itself; the numbers are those of <see cref="ScenarioTable"/>.</summary>
public sealed class RobustnessScenarios
{
    [Fact]
    [Trait("Scenario", "60")]
    public async Task Watches_ThatLie_DoNotHurtAJob()
    {
        // How many events there are to lie about is a matter of timing: one story may have too few.
        var dice = new Dice(60);
        int lies = 0;
        for (int i = 0; i < 20 && lies <= 3; i++)
        {
            await using FakeOperator cluster = await FakeOperator.StartAsync();
            var distortion = new WatchDistortion(dice.Chance, cluster.Time) { Lost = 0.1, Twice = 0.2, Exchanged = 0.2, Cut = 0.1, Bookmarks = 0.2 };
            cluster.Api.Distortion = distortion;

            await StoryAsync(cluster, () =>
            {
                // Nobody can act on what he was never told; each new list tells it.
                if (dice.Chance(0.1))
                {
                    cluster.Api.Store.Compact();
                }
            });
            lies += distortion.Count;
        }

        Assert.True(lies > 3, $"only {lies} lies");
    }

    [Fact]
    [Trait("Scenario", "61")]
    public async Task Requests_ThatFailAtEveryThirdTime_DoNotHurtAJob()
    {
        await using FakeOperator cluster = await FakeOperator.StartAsync();
        var dice = new Dice(61);
        var faults = new ApiFaults(dice.Chance, dice.Next) { Rate = 0.35 };
        cluster.Api.Intercept = faults.FailAsync;
        cluster.Api.Answering = faults.FateOfAnswer;

        await StoryAsync(cluster);

        Assert.True(faults.Count > 10, $"only {faults.Count} failures");
    }

    [Fact]
    [Trait("Scenario", "62")]
    public async Task Watches_FiveSecondsBehind_LoseNoPod()
    {
        await using FakeOperator cluster = await FakeOperator.StartAsync();
        cluster.Api.Distortion = new WatchDistortion(_ => false, cluster.Time) { Lag = TimeSpan.FromSeconds(5) };

        await StoryAsync(cluster);
    }

    [Fact]
    [Trait("Scenario", "63")]
    public async Task Write_DecidedBeforeAPause_IsNotSentAfterwards()
    {
        await using FakeApi api = await FakeApi.StartAsync();
        bool leads = true;
        using Kubernetes client = api.Client("a", new Stopped(() => leads = false));
        var guarded = new ApiConnection(client, TimeProvider.System, () => leads);

        LeadershipLostException e = await Assert.ThrowsAsync<LeadershipLostException>(() => guarded.PostAsync(
            "/api/v1/namespaces/default/pods", new V1Pod { Metadata = new V1ObjectMeta { Name = "a" } }, TestContext.Current.CancellationToken));

        Assert.Contains("POST /api/v1/namespaces/default/pods was not sent", e.Message);
        Assert.Empty(api.Store.All("pods"));
    }

    [Fact]
    [Trait("Scenario", "63")]
    public async Task NewLeader_WhoseWatchIsBehind_ListsFirst()
    {
        var time = new ProcessClock(new DateTimeOffset(2026, 1, 1, 0, 0, 0, TimeSpan.Zero));
        await using FakeApi api = await FakeApi.StartAsync();
        api.Definition = JobDefinition.Build();
        api.Store.Time = time;
        int silent = 0;
        api.Intercept = async context =>
        {
            if (context.Request.Headers.UserAgent != "second" || !context.Request.Query.ContainsKey("watch"))
            {
                return false;
            }

            Interlocked.Increment(ref silent);
            await context.Response.StartAsync(context.RequestAborted);
            await Task.Delay(Timeout.Infinite, context.RequestAborted);
            return true;
        };
        await using OperatorProcess first = Replica(api, "first", time);
        await UntilAsync(time, () => first.Leads, "the first one leads");
        await using OperatorProcess second = Replica(api, "second", time);
        await UntilAsync(time, () => Volatile.Read(ref silent) >= 4, "the second one watches, and hears nothing");
        Create(api, "early");
        await UntilAsync(time, () => api.Store.Find("pods", "early-1-0") is not null, "the first one works");
        api.Run("early-1-0");
        api.End("early-1-0", 0, time.GetUtcNow());
        await UntilAsync(time, () => Phase(api, "early") == "Complete", "the job is complete");

        first.Kill();
        Create(api, "late");
        await UntilAsync(time, () => api.Store.Find("pods", "late-1-0") is not null, "the second one works");

        Assert.Equal("Complete", Phase(api, "early"));
        Assert.Single(api.Store.Created, c => c.StartsWith("pods/early", StringComparison.Ordinal));
    }

    [Fact]
    [Trait("Scenario", "65")]
    public async Task Pods_StuckOnALostMachine_HoldAJobNoLongerThanConfigured()
    {
        // Machines are not watched here: all that is known is that the pod does not end.
        await using FakeOperator cluster = await FakeOperator.StartAsync(new OperatorOptions { WatchNodes = false });
        cluster.Api.Store.PodsEndSlowly = true;
        cluster.Apply("a", """{"image":"worker:1","numNodes":2,"checkpoint":{"claimName":"c","gracePeriodSeconds":30},"restart":{"nodeLossSeconds":20}}""");
        await cluster.Until(() => cluster.PodExists("a-1-1"), "pods exist");
        cluster.Api.Run("a-1-0");
        cluster.Api.Run("a-1-1", machine: "node-2");
        await cluster.UntilPhase("a", "Running");

        DateTimeOffset deleted = cluster.Time.GetUtcNow();
        cluster.Api.Store.Delete(new ResourcePath("pods", "default", "a-1-1", null), null, atOnce: false);
        await cluster.Until(() => cluster.Api.Store.Find("pods", "a-1-0")?["metadata"]!["deletionTimestamp"] is not null, "the others are ended");
        cluster.Api.Kill("pods", "a-1-0");
        await cluster.Until(() => cluster.PodExists("a-2-1"), "the job goes on");

        Assert.InRange((cluster.Time.GetUtcNow() - deleted).TotalSeconds, 50, 75);
        await cluster.Until(() => !cluster.PodExists("a-1-1"), "the stuck pod is removed by force");
    }

    [Fact]
    [Trait("Scenario", "66")]
    public async Task Namespace_DeletedInTheMiddle_EndsQuietly()
    {
        await using FakeOperator cluster = await FakeOperator.StartRunningAsync();
        cluster.Api.Store.Terminating.Add("default");
        cluster.Api.Kill("pods", "a-1-1");
        await cluster.Until(() => (int?)cluster.Status("a")["attempt"] == 2, "it would go on");
        await cluster.Until(() => (string?)cluster.Condition("a", "Scheduled")?["reason"] == "ForbiddenByAdmission", "it says why it cannot");
        foreach (string plural in new[] { "deepspeedjobs", "configmaps", "services", "pods" })
        {
            foreach (JsonObject item in cluster.Api.Store.All(plural))
            {
                cluster.Api.Kill(plural, (string)item["metadata"]!["name"]!);
            }
        }

        await cluster.UntilQuiet();
        int writes = cluster.Api.Writes;
        await cluster.Settle(120);

        Assert.Equal(writes, cluster.Api.Writes);
        Assert.Empty(cluster.Api.Store.All("pods"));
    }

    [Fact]
    [Trait("Scenario", "66")]
    public async Task Operator_GoneForADay_FindsItsJobsAsTheyAre()
    {
        await using FakeOperator cluster = await FakeOperator.StartRunningAsync();
        await cluster.UntilQuiet();
        cluster.Api.Kill(cluster.Client);
        int writes = cluster.Api.Writes;
        cluster.Time.Advance(TimeSpan.FromDays(1));
        cluster.Api.Store.Compact();

        cluster.Start();
        await cluster.UntilQuiet();
        Assert.Equal(writes, cluster.Api.Writes);
        cluster.Api.End("a-1-0", 0, cluster.Time.GetUtcNow());
        cluster.Api.End("a-1-1", 0, cluster.Time.GetUtcNow());
        await cluster.UntilPhase("a", "Complete");

        Assert.Equal((1, 0, 0), ((int)cluster.Status("a")["attempt"]!, (int)cluster.Status("a")["restarts"]!, (int)cluster.Status("a")["disruptions"]!));
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [Trait("Scenario", "67")]
    public async Task Clock_SetBackByTwoHours_DelaysNoRestart(int attempt)
    {
        await using FakeOperator cluster = await FakeOperator.StartRunningAsync();
        cluster.Api.End("a-1-1", 1, cluster.Time.GetUtcNow());
        await cluster.Until(() => (int?)cluster.Status("a")["attempt"] == attempt, $"attempt {attempt}");
        await cluster.UntilQuiet();
        Assert.Equal(attempt == 2, cluster.Status("a")["nextStartTime"] is not null);

        cluster.Time.Error = TimeSpan.FromHours(-2);
        await cluster.Until(() => cluster.PodExists("a-2-1"), "it starts again"); // within six minutes
    }

    [Fact]
    [Trait("Scenario", "67")]
    public async Task Clock_AnHourAhead_LosesNoPod()
    {
        await using FakeOperator cluster = await FakeOperator.StartRunningAsync();
        cluster.Time.Error = TimeSpan.FromHours(1);
        await cluster.Settle(30);
        cluster.Apply("b");
        await cluster.Until(() => cluster.PodExists("b-1-1"), "other jobs begin");
        await cluster.UntilQuiet();

        Assert.Equal((1, "Running"), ((int)cluster.Status("a")["attempt"]!, (string?)cluster.Status("a")["phase"]));
    }

    [Fact]
    [Trait("Scenario", "67")]
    public async Task Clock_SetAheadByAnHourWhilePodsSave_ForcesNoneAway()
    {
        await using FakeOperator cluster = await FakeOperator.StartRunningAsync();
        cluster.Api.Store.PodsEndSlowly = true;
        cluster.Edit("a", """{"suspend":true}""");
        await cluster.Until(() => cluster.Api.Store.Find("pods", "a-1-0")!["metadata"]!["deletionTimestamp"] is not null, "its pods are told to end");
        await cluster.UntilQuiet();

        cluster.Time.Error = TimeSpan.FromHours(1);
        cluster.Edit("a", """{"activeDeadlineSeconds":864000}"""); // a pass
        await cluster.Settle(60);
        Assert.True(cluster.PodExists("a-1-0") && cluster.PodExists("a-1-1"));

        await cluster.Until(() => !cluster.PodExists("a-1-0"), "after its grace period and nodeLossSeconds it is given up");
    }

    [Fact]
    [Trait("Scenario", "68")]
    public async Task ThousandJobs_OfWhichEveryTenthFails_AllEndRight()
    {
        const int jobs = 1000;
        var time = new ProcessClock(new DateTimeOffset(2026, 1, 1, 0, 0, 0, TimeSpan.Zero));
        await using FakeApi api = await FakeApi.StartAsync();
        api.Definition = JobDefinition.Build();
        api.Store.Time = time;
        await using var process = new OperatorProcess(api, "operator", time, new OperatorOptions { RequestsPerSecond = 10_000, RequestBurst = 10_000 }, pageSize: 500);
        var running = new System.Collections.Concurrent.ConcurrentQueue<string>();
        api.Store.Changing = change =>
        {
            if (change is { Plural: "pods", Verb: "create" })
            {
                running.Enqueue((string)change.After!["metadata"]!["name"]!);
            }
        };
        for (int i = 0; i < jobs; i++)
        {
            Create(api, $"job{i}");
        }

        var ready = new Queue<string>();
        int ended = 0;
        await UntilAsync(time, () => ended == jobs + jobs / 10 && process.IsQuiet, "all pods have ended", () =>
        {
            while (ready.TryDequeue(out string? name))
            {
                string[] parts = name.Split('-');
                bool fails = int.Parse(parts[0][3..]) % 10 == 3 && parts[1] == "1";
                api.End(name, fails ? 1 : 0, time.GetUtcNow());
                ended++;
            }

            while (running.TryDequeue(out string? name))
            {
                api.Run(name);
                ready.Enqueue(name);
            }
        });
        await UntilAsync(time, () => process.IsQuiet && api.Store.All("deepspeedjobs").All(j => (string?)j["status"]?["phase"] == "Complete"), "all jobs are complete");

        JsonObject[] all = [.. api.Store.All("deepspeedjobs")];
        Assert.Equal(jobs, all.Length);
        Assert.All(all, j => Assert.Equal(((string)j["metadata"]!["name"]!)[^1] == '3' ? 1 : 0, (int)j["status"]!["restarts"]!));
        Assert.Equal(jobs / 10, all.Sum(j => (int)j["status"]!["attempt"]! - 1));
        Assert.Equal(jobs + jobs / 10, api.Store.Created.Count(c => c.StartsWith("pods/", StringComparison.Ordinal)));
    }

    // The job fails once and then succeeds, whatever is done to the operator meanwhile.
    private static async Task StoryAsync(FakeOperator cluster, Action? disturb = null)
    {
        OneFailure.Apply(cluster);
        await cluster.Until(() => OneFailure.IsOver(cluster), "the job is complete", () =>
        {
            disturb?.Invoke();
            OneFailure.Step(cluster);
            return Task.CompletedTask;
        });
        cluster.Api.Distortion = null;
        cluster.Api.Intercept = null;
        cluster.Api.Answering = null;
        cluster.Api.Store.Compact();
        cluster.Api.CutConnections();
        await cluster.UntilQuiet();
        Assert.Equal(OneFailure.End, OneFailure.State(cluster));
    }

    private static OperatorProcess Replica(FakeApi api, string name, ProcessClock time) => new(api, name, time,
        new OperatorOptions { WatchNodes = true, Leader = new LeaderOptions { Name = "lock", Namespace = "system", Identity = name } }, pageSize: 5);

    private static void Create(FakeApi api, string name) => api.Store.Create(new ResourcePath("deepspeedjobs", "default", null, null), new JsonObject
    {
        ["apiVersion"] = "deepspeedsharp.dev/v1alpha1",
        ["kind"] = "DeepSpeedJob",
        ["metadata"] = new JsonObject { ["name"] = name },
        ["spec"] = JsonNode.Parse("""{"image":"w","progress":{"mode":"None"},"restart":{"backoffSeconds":1}}"""),
    });

    private static string? Phase(FakeApi api, string job) => (string?)api.Store.Find("deepspeedjobs", job)?["status"]?["phase"];

    private static async Task UntilAsync(ProcessClock time, Func<bool> condition, string what, Action? eachStep = null)
    {
        for (int i = 0; !condition(); i++)
        {
            Assert.True(i < 30_000, $"never came true: {what}");
            eachStep?.Invoke();
            time.Advance(TimeSpan.FromMilliseconds(100));
            await Task.Delay(4, TestContext.Current.CancellationToken);
        }
    }

    // A process that is stopped right when it sends something, and goes on when it does not lead any more.
    private sealed class Stopped(Action afterwards) : DelegatingHandler
    {
        protected override Task<HttpResponseMessage> SendAsync(HttpRequestMessage request, CancellationToken cancellationToken)
        {
            afterwards();
            return base.SendAsync(request, cancellationToken);
        }
    }
}

using System.Text.Json.Nodes;
using DeepSpeedSharp.Operator.Runtime;
using DeepSpeedSharp.Operator.Tests.FakeCluster;

namespace DeepSpeedSharp.Operator.Tests.Chart;

/// <summary>The chart's role is enough for everything the operator does, and has nothing that it does not need.</summary>
public sealed class ChartRoleTests
{
    // Not sent as requests: what clusters that guard owner references ask for, and a repeated event, which other tests have.
    private static readonly string[] NotRequests = ["patch events", "update deepspeedjobs/finalizers.deepspeedsharp.dev"];

    [Fact]
    public async Task Lifecycle_WithTheChartsRoleAlone_NeedsAllOfItAndNoMore()
    {
        var role = ChartRole.Of(await RenderedChart.ObjectsAsync());
        int statusWrites = 0;
        await using FakeOperator cluster = await FakeOperator.StartAsync(new OperatorOptions
        {
            // The clock of these tests runs much faster than the requests.
            Leader = new LeaderOptions
            {
                Name = "release-deepspeed-operator",
                Namespace = "system",
                Identity = "me",
                Duration = TimeSpan.FromHours(2),
                RenewDeadline = TimeSpan.FromHours(1),
            },
        }, api =>
        {
            // One answer is lost, so that a job is read again.
            api.Intercept = role.Intercept;
            api.Answering = context => context.Request.Path.Value!.EndsWith("/status", StringComparison.Ordinal) && Interlocked.Increment(ref statusWrites) == 1
                ? AnswerFate.IsLost : AnswerFate.Arrives;
        });

        try
        {
            await WholeLifeAsync(cluster);
            await SecondSizeAsync(cluster);
            await NameConflictAsync(cluster);
        }
        finally
        {
            // What is refused is why nothing goes on.
            Assert.Empty(role.Refused.Distinct());
        }

        Assert.Equal(NotRequests, role.Unused.Where(right => !IsForGangs(right)));
    }

    [Fact]
    public async Task Gangs_WithTheChartsRoleAlone_NeedAllOfItAndNoMore()
    {
        var role = ChartRole.Of(await RenderedChart.ObjectsAsync());
        var apis = new GangApis { All = true };
        await using FakeOperator cluster = await FakeOperator.StartAsync(new OperatorOptions(),
            api => api.Intercept = async context => await role.Intercept(context) || await apis.AnswerAsync(context));
        try
        {
            await GroupsAsync(cluster, "Volcano", "a");
            await GroupsAsync(cluster, "Coscheduling", "b");
            await KueueAsync(cluster);
        }
        finally
        {
            Assert.Empty(role.Refused.Distinct());
        }

        Assert.Equal([], role.Unused.Where(IsForGangs));
    }

    [Fact]
    public async Task Gangs_ThatAreNotListed_GetNoRights()
    {
        var role = ChartRole.Of(await RenderedChart.ObjectsAsync(
            [.. Enumerable.Range(0, 3).SelectMany(i => new[] { "--set", $"rbac.gangSchedulers[{i}]=volcano" })]));

        Assert.Equal(["scheduling.volcano.sh"], role.Rights.Where(r => IsForGangs(r.ToString())).Select(r => r.Group).Distinct());
    }

    [Theory]
    [InlineData]
    [InlineData("--set", "metrics.secure=true")]
    [InlineData("--set", "watchNamespaces[0]=team-a")]
    public async Task Role_HasNoWildcardsAndReadsNoSecret(params string[] options)
    {
        var role = ChartRole.Of(await RenderedChart.ObjectsAsync(options));

        Assert.NotEmpty(role.Rights);
        Assert.DoesNotContain(role.Rights, r => r.Verb == "*" || r.Group == "*" || r.Resource.Contains('*', StringComparison.Ordinal));
        Assert.Equal(["create", "delete"], role.Rights.Where(r => r.Resource == "secrets").Select(r => r.Verb).Order());
        Assert.DoesNotContain(role.Rights, r => r.Verb is "escalate" or "bind" or "impersonate" || r.Resource is "pods/exec" or "serviceaccounts/token");
    }

    [Fact]
    public async Task Namespaces_GetRolesOfTheirOwnAndNoClusterRole()
    {
        IReadOnlyList<(string Kind, string Name, string? Namespace)> objects = await RenderedChart.NamesAsync(
            "--set", "watchNamespaces[0]=team-a", "--set", "watchNamespaces[1]=team-b");

        Assert.DoesNotContain(objects, o => o.Kind is "ClusterRole" or "ClusterRoleBinding");
        Assert.Equal(["system", "team-a", "team-b"], objects.Where(o => o.Kind == "Role").Select(o => o.Namespace).Order());
        Assert.Equal(["system", "team-a", "team-b"], objects.Where(o => o.Kind == "RoleBinding").Select(o => o.Namespace).Order());
    }

    private static bool IsForGangs(string right) => right == "patch pods" || right.Contains(" podgroups.", StringComparison.Ordinal)
        || right.Contains(" workloads.", StringComparison.Ordinal);

    // A PodGroup that is changed by hand before its pods are made, and goes when the job rests.
    private static async Task GroupsAsync(FakeOperator cluster, string gang, string name)
    {
        bool refuses = true;
        cluster.Api.Store.Creating = (plural, _) =>
        {
            if (plural == "pods" && refuses)
            {
                throw new StoreException(System.Net.HttpStatusCode.Forbidden, "Forbidden", "exceeded quota");
            }
        };
        cluster.Apply(name, $$$"""{"image":"worker:1","numNodes":2,"scheduling":{"gang":"{{{gang}}}"}}""");
        await cluster.Until(() => cluster.Api.Store.Find("podgroups", $"{name}-1") is not null, "the group exists");
        cluster.Api.Store.Change("podgroups", $"{name}-1", g =>
        {
            g["metadata"]!["annotations"] = new JsonObject();
            g["status"] = new JsonObject { ["phase"] = "Inqueue" };
        });
        await cluster.Until(() => cluster.Api.Store.Find("podgroups", $"{name}-1")!["metadata"]!["annotations"]!.AsObject().Count > 0, "it is put right");
        refuses = false;
        await cluster.Until(() => cluster.PodExists($"{name}-1-1"), "pods exist");
        cluster.Edit(name, """{"suspend":true}""");
        await cluster.Until(() => cluster.Api.Store.Find("podgroups", $"{name}-1") is null, "the group is gone");
    }

    // Suspended while its pods wait in the queue.
    private static async Task KueueAsync(FakeOperator cluster)
    {
        cluster.Api.Store.Creating = (plural, body) =>
        {
            if (plural == "pods")
            {
                body["metadata"]!["finalizers"] = new JsonArray("kueue.x-k8s.io/managed");
            }
        };
        cluster.Apply("c", """{"image":"worker:1","scheduling":{"gang":"Kueue","queue":"q"}}""");
        await cluster.Until(() => cluster.PodExists("c-1-0"), "the pod exists");
        string group = (string)cluster.Status("c")["gang"]!["group"]!;
        cluster.Api.Store.Create(new ResourcePath("workloads", "default", null, null), new JsonObject { ["metadata"] = new JsonObject { ["name"] = group } });
        cluster.Edit("c", """{"suspend":true}""");
        await cluster.Until(() => cluster.Api.Store.Find("workloads", group) is null, "the Workload is gone");
    }

    // Claim, guards and a config by reference; a failure, an edit, a resize, and the end of its time.
    private static async Task WholeLifeAsync(FakeOperator cluster)
    {
        cluster.Api.Store.Create(new ResourcePath("configmaps", "default", null, null), new JsonObject
        {
            ["metadata"] = new JsonObject { ["name"] = "settings" },
            ["data"] = new JsonObject { ["ds_config.json"] = """{"train_batch_size":8}""" },
        });
        cluster.Apply("a", """
            {"image":"worker:1","numNodes":2,"ttlSecondsAfterFinished":5,"configRef":{"name":"settings"},"network":{"policy":true},
             "scheduling":{"podDisruptionBudget":true},"checkpoint":{"volumeClaimTemplate":{"spec":{"accessModes":["ReadWriteMany"]}}}}
            """);
        await RunAsync(cluster, "a", 1);
        cluster.Api.End("a-1-1", 1, cluster.Time.GetUtcNow());
        await RunAsync(cluster, "a", 2);
        cluster.Edit("a", """{"suspend":true,"metrics":{"port":9500}}""");
        await cluster.UntilPhase("a", "Suspended");
        cluster.Edit("a", """{"suspend":false}""");
        await RunAsync(cluster, "a", 3);
        cluster.Api.End("a-3-0", 0, cluster.Time.GetUtcNow());
        cluster.Api.End("a-3-1", 0, cluster.Time.GetUtcNow());
        await cluster.Until(() => cluster.Api.Store.Find("deepspeedjobs", "a") is null, "the job is deleted after its time");
    }

    private static async Task SecondSizeAsync(FakeOperator cluster)
    {
        cluster.Apply("b", """
            {"image":"torch:1","launcher":"Torchrun","numNodes":1,"elastic":{"minNodes":1,"maxNodes":2},
             "scheduling":{"podDisruptionBudget":true},"config":{"train_batch_size":12}}
            """);
        await cluster.Until(() => cluster.PodExists("b-1-0"), "pod exists");
        cluster.Api.Run("b-1-0");
        await cluster.UntilPhase("b", "Running");
        cluster.Edit("b", """{"numNodes":2}""");
        await cluster.Until(() => cluster.PodExists("b-2-1"), "two pods exist");
    }

    private static async Task NameConflictAsync(FakeOperator cluster)
    {
        cluster.Api.Store.Create(new ResourcePath("pods", "default", null, null), new JsonObject { ["metadata"] = new JsonObject { ["name"] = "c-1-0" } });
        cluster.Apply("c", """{"image":"worker:1"}""");
        await cluster.Until(() => (string?)cluster.Condition("c", "Scheduled")?["reason"] == "NameConflict", "the conflict is seen");
    }

    private static async Task RunAsync(FakeOperator cluster, string job, int attempt)
    {
        await cluster.Until(() => cluster.PodExists($"{job}-{attempt}-0") && cluster.PodExists($"{job}-{attempt}-1"), $"pods of attempt {attempt} exist");
        cluster.Api.Run($"{job}-{attempt}-0");
        cluster.Api.Run($"{job}-{attempt}-1");
        await cluster.Until(() => (string?)cluster.Status(job)["phase"] == "Running" && (int)cluster.Status(job)["attempt"]! == attempt, $"attempt {attempt} runs");
    }
}

using System.Text.Json.Nodes;

namespace DeepSpeedSharp.Operator.Server.Tests.Scenarios;

/// <summary>What a failure means: by rules, exit codes, and what the cluster did to a pod.</summary>
public sealed class FailureScenarios(ScenarioServer server)
{
    private const string Rules = """
        {"image":"w","progress":{"mode":"None"},"restart":{"maxRestarts":0,"backoffSeconds":0,"rules":[
         {"name":"config","exitCodes":[64,78],"action":"FailJob"},
         {"name":"memory","reasons":["OOMKilled"],"action":"FailJob"},
         {"name":"xid","messagePattern":"Xid|uncorrectable ECC","action":"RestartIgnoreLimit","avoidNode":true},
         {"name":"both","exitCodes":[9],"messagePattern":"twice","action":"RestartIgnoreLimit"},
         {"name":"late","exitCodes":[64],"action":"RestartIgnoreLimit"}]}}
        """;

    [Theory]
    [InlineData(78, null, null, "RuleFailJob", "config")]
    [InlineData(64, null, null, "RuleFailJob", "config")] // the first match wins
    [InlineData(137, null, "OOMKilled", "RuleFailJob", "memory")]
    [InlineData(1, "GPU has fallen off the bus, Xid 79", null, null, "xid")]
    [InlineData(9, "or twice", null, null, "both")]
    [InlineData(9, "once", null, "MaxRestartsExceeded", null)] // all criteria must match
    [InlineData(65, null, null, "WorkerRefused", null)] // without a rule
    [Trait("Scenario", "22")]
    public async Task S22_FirstRuleThatMatches_Decides(int exitCode, string? message, string? reason, string? end, string? rule)
    {
        Sandbox cluster = await server.SandboxAsync();
        await cluster.RunJobAsync("a", Rules);

        await cluster.Kubelet.FinishAsync("a-1-0", exitCode, message, reason);
        JsonNode status = end is null ? await cluster.CreatedAsync("a", 2) : await cluster.UntilPhaseAsync("a", "Failed");

        Assert.Equal(rule, (string?)status["lastFailures"]![0]!["rule"]);
        Assert.Equal(end is null ? (2, 0, 1) : (1, 0, 0), Sandbox.Counters(status));
        if (end is not null)
        {
            Assert.Equal(end, (string?)Sandbox.Condition(status, "Failed")!["reason"]);
        }

        if (rule == "xid")
        {
            JsonNode term = (await cluster.FindAsync("pods", "a-2-0"))!["spec"]!["affinity"]!["nodeAffinity"]!["requiredDuringSchedulingIgnoredDuringExecution"]!["nodeSelectorTerms"]![0]!;
            Assert.Contains("node-1", term.ToJsonString());
        }
    }

    [Theory]
    [InlineData(64, "WorkerRefused", 0, 0)]
    [InlineData(78, "WorkerRefused", 0, 0)]
    [InlineData(1, null, 1, 0)]
    [InlineData(137, null, 1, 0)]
    [InlineData(143, null, 0, 1)]
    [Trait("Scenario", "25")]
    public async Task S25_ExitCode_TellsWhetherToTryAgain(int exitCode, string? end, int restarts, int disruptions)
    {
        Sandbox cluster = await server.SandboxAsync();
        await cluster.RunJobAsync("a", """{"image":"w","progress":{"mode":"None"},"restart":{"backoffSeconds":0}}""");

        await cluster.Kubelet.FinishAsync("a-1-0", exitCode);
        JsonNode status = end is null ? await cluster.CreatedAsync("a", 2) : await cluster.UntilPhaseAsync("a", "Failed");

        Assert.Equal((end is null ? 2 : 1, restarts, disruptions), Sandbox.Counters(status));
        Assert.Equal(end, end is null ? null : (string?)Sandbox.Condition(status, "Failed")!["reason"]);
    }

    [Fact]
    [Trait("Scenario", "26")]
    public async Task S26_EvictionAndDrain_DoNotCount()
    {
        Sandbox cluster = await server.SandboxAsync();
        await cluster.RunJobAsync("a", """{"image":"w","numNodes":2,"progress":{"mode":"None"},"restart":{"maxRestarts":0,"backoffSeconds":0}}""");

        await cluster.Kubelet.EvictAsync("a-1-1");
        JsonNode evicted = await cluster.RunPodsAsync("a", 2);
        Assert.Equal((2, 0, 1), Sandbox.Counters(evicted));
        Assert.Equal(("a-1-1", "Evicted"), ((string?)evicted["lastFailures"]![0]!["pod"], (string?)evicted["lastFailures"]![0]!["reason"]));

        await cluster.Kubelet.DisruptAsync("a-2-0", "EvictionByEvictionAPI");
        await cluster.Kubelet.DeleteAsync("a-2-0");
        JsonNode drained = await cluster.RunPodsAsync("a", 3);
        Assert.Equal((3, 0, 2), Sandbox.Counters(drained));
    }

    [Fact]
    [Trait("Scenario", "29")]
    public async Task S29_PodIsDeletedWhileItRuns_JobStartsAgainWithoutCounting()
    {
        Sandbox cluster = await server.SandboxAsync();
        await cluster.RunJobAsync("a");

        await cluster.Kubelet.DeleteAsync("a-1-1");
        JsonNode status = await cluster.RunPodsAsync("a", 2);

        Assert.Equal((2, 0, 1), Sandbox.Counters(status));
        Assert.Equal("PodDeleted", (string?)status["lastFailures"]![0]!["reason"]);
    }

    [Fact]
    [Trait("Scenario", "46")]
    public async Task S46_GangIsPreempted_IsOneDisruption_AndItsRackIsKept()
    {
        Sandbox cluster = await server.SandboxAsync();
        await cluster.RunJobAsync("a", """
            {"image":"w","numNodes":3,"progress":{"mode":"None"},"restart":{"maxRestarts":0,"backoffSeconds":0},"scheduling":{"topology":{"required":"rack"},"exclusivePerNode":true}}
            """);

        foreach (string pod in new[] { "a-1-0", "a-1-1", "a-1-2" })
        {
            await cluster.Kubelet.DisruptAsync(pod, "PreemptionByScheduler");
        }

        foreach (string pod in new[] { "a-1-0", "a-1-1", "a-1-2" })
        {
            await cluster.Kubelet.DeleteAsync(pod);
        }

        JsonNode status = await cluster.RunPodsAsync("a", 2);
        Assert.Equal((2, 0, 1), Sandbox.Counters(status));
        JsonNode affinity = (await cluster.FindAsync("pods", "a-2-1"))!["spec"]!["affinity"]!;
        Assert.Equal(("rack", "kubernetes.io/hostname"), (Key("podAffinity"), Key("podAntiAffinity")));

        string? Key(string kind) => (string?)Assert.Single(affinity[kind]!["requiredDuringSchedulingIgnoredDuringExecution"]!.AsArray())!["topologyKey"];
    }
}

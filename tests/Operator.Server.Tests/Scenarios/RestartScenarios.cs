using System.Text.Json.Nodes;

namespace DeepSpeedSharp.Operator.Server.Tests.Scenarios;

/// <summary>Pods that fail, and the attempts that follow.</summary>
public sealed class RestartScenarios(ScenarioServer server)
{
    private const string Two = "\"image\":\"w\",\"numNodes\":2,\"progress\":{\"mode\":\"None\"}";

    [Fact]
    [Trait("Scenario", "19")]
    public async Task S19_PolicyNever_OneFailureFailsTheJob()
    {
        Sandbox cluster = await server.SandboxAsync();
        await cluster.RunJobAsync("a", $$"""{ {{Two}},"restart":{"policy":"Never"} }""");

        await cluster.Kubelet.FailAsync("a", 1, 1);
        JsonNode status = await cluster.UntilPhaseAsync("a", "Failed");

        Assert.Equal("RestartPolicyNever", (string?)Sandbox.Condition(status, "Failed")!["reason"]);
        Assert.Equal((1, 0, 0), Sandbox.Counters(status));
    }

    [Fact]
    [Trait("Scenario", "20")]
    public async Task S20_LimitOfRestartsIsReached_JobFailsWithItsReason()
    {
        Sandbox cluster = await server.SandboxAsync();
        await cluster.RunJobAsync("a", $$"""{ {{Two}},"restart":{"maxRestarts":1,"backoffSeconds":0} }""");
        await cluster.Kubelet.FailAsync("a", 1, 1);
        await cluster.RunPodsAsync("a", 2);

        await cluster.Kubelet.FailAsync("a", 2, 3);
        JsonNode failed = Sandbox.Condition(await cluster.UntilPhaseAsync("a", "Failed"), "Failed")!;

        Assert.Equal("MaxRestartsExceeded", (string?)failed["reason"]);
        Assert.StartsWith("Node 1 (pod a-2-1 on node-1) failed with exit code 3.", (string?)failed["message"]);
        Assert.Equal((2, 1, 0), Sandbox.Counters(await cluster.StatusAsync("a")));
    }

    [Fact]
    [Trait("Scenario", "21")]
    public async Task S21_FailsOnce_StartsAgainAndSucceeds()
    {
        Sandbox cluster = await server.SandboxAsync();
        await cluster.RunJobAsync("a");
        await cluster.Kubelet.FailAsync("a", 1, 137);
        await cluster.RunPodsAsync("a", 2);

        await cluster.Kubelet.SucceedAsync("a", 2);
        JsonNode status = await cluster.UntilPhaseAsync("a", "Complete");

        Assert.Equal((2, 1, 0), Sandbox.Counters(status));
        Assert.Equal(("a-1-1", 137), ((string?)status["lastFailures"]![0]!["pod"], (int)status["lastFailures"]![0]!["exitCode"]!));
        Assert.Equal(["a-1-1", "a-2-0", "a-2-1"], await cluster.NamesAsync("pods")); // that which failed first is kept
    }

    [Theory]
    [InlineData("Blocking")]
    [InlineData("Replace")]
    [Trait("Scenario", "23")]
    public async Task S23_OldPodsThatEndSlowly_AreWaitedForOrNot(string strategy)
    {
        Sandbox cluster = await server.SandboxAsync();
        cluster.HoldEndingPods();
        await cluster.RunJobAsync("a", $$"""{ {{Two}},"restart":{"backoffSeconds":0,"strategy":"{{strategy}}"} }""");
        await cluster.Kubelet.FinishAsync("a-1-1", 1);

        await cluster.UntilAsync("the other pod is told to end", async () => (await cluster.FindAsync("pods", "a-1-0"))!["metadata"]!["deletionTimestamp"] is not null);
        if (strategy == "Blocking")
        {
            JsonNode scheduled = await cluster.UntilAsync("a", "Scheduled", "WaitingForOldPods");
            Assert.Contains("a-1-0", (string?)scheduled["message"]);
            Assert.Equal(["a-1-0", "a-1-1"], await cluster.NamesAsync("pods"));
            await cluster.Kubelet.RemoveAsync("a-1-0");
        }

        await cluster.RunPodsAsync("a", 2);
        Assert.Equal(strategy == "Replace", (await cluster.NamesAsync("pods")).Contains("a-1-0"));
    }

    [Fact]
    [Trait("Scenario", "24")]
    public async Task S24_JobStartsAgain_RestartingGoesTrueAndFalse()
    {
        Sandbox cluster = await server.SandboxAsync();
        Assert.Equal("False", (string?)Sandbox.Condition(await cluster.RunJobAsync("a"), "Restarting")!["status"]);

        await cluster.Kubelet.FailAsync("a", 1, 1);
        JsonNode restarting = await cluster.UntilAsync("a", "Restarting");
        Assert.Equal("NodeFailed", (string?)restarting["reason"]);
        JsonNode running = await cluster.RunPodsAsync("a", 2);

        Assert.Equal(("False", "AllNodesReady"), ((string?)Sandbox.Condition(running, "Restarting")!["status"], (string?)Sandbox.Condition(running, "Restarting")!["reason"]));
    }

    [Fact]
    [Trait("Scenario", "27")]
    public async Task S27_RestartsInPlace_AreRefused()
    {
        Sandbox cluster = await server.SandboxAsync();
        await cluster.CreateJobAsync("a", """{"image":"w","template":{"spec":{"restartPolicy":"OnFailure"}}}""");

        Assert.Contains("spec.template.spec.restartPolicy: it belongs to the job; remove it: use restart.policy", await cluster.RefusalAsync("a"));
    }

    [Fact]
    [Trait("Scenario", "28")]
    public async Task S28_EachRetry_IsAFreshAttempt()
    {
        Sandbox cluster = await server.SandboxAsync();
        await cluster.RunJobAsync("a");
        for (int attempt = 1; attempt <= 2; attempt++)
        {
            await cluster.Kubelet.FailAsync("a", attempt, 1);
            JsonNode status = await cluster.RunPodsAsync("a", attempt + 1);
            Assert.Equal((attempt + 1, attempt, 0), Sandbox.Counters(status));
        }

        Assert.Equal(["a-2-1", "a-3-0", "a-3-1"], await cluster.NamesAsync("pods"));
        Assert.Equal(["a-3"], await cluster.NamesAsync("configmaps"));
        Assert.StartsWith("a-3-", Assert.Single(await cluster.NamesAsync("secrets")));
        JsonNode pod = (await cluster.FindAsync("pods", "a-3-1"))!;
        Assert.Equal(("3", "2", "a-3-0.a"), (Sandbox.Env(pod, "DSJ_ATTEMPT"), Sandbox.Env(pod, "DSJ_RESTARTS"), Sandbox.Env(pod, "MASTER_ADDR")));
    }
}

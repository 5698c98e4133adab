using System.Text.Json.Nodes;

namespace DeepSpeedSharp.Operator.Server.Tests.Scenarios;

/// <summary>How jobs come to a good end.</summary>
public sealed class SuccessScenarios(ScenarioServer server)
{
    [Fact]
    [Trait("Scenario", "15")]
    public async Task S15_AllPodsSucceed_JobIsCompleteAndItsPodsStay()
    {
        Sandbox cluster = await server.SandboxAsync();
        await cluster.RunJobAsync("a", """{"image":"w","numNodes":2,"progress":{"mode":"None"},"scheduling":{"podDisruptionBudget":true}}""");
        Assert.NotNull(await cluster.FindAsync("poddisruptionbudgets", "a"));

        await cluster.Kubelet.FinishAsync("a-1-0", 0, """{"kind":"done","step":300,"loss":1.25,"message":"trained"}""");
        await cluster.Kubelet.FinishAsync("a-1-1", 0);
        JsonNode status = await cluster.UntilPhaseAsync("a", "Complete");

        Assert.NotNull(status["completionTime"]);
        Assert.Equal(("True", "AllNodesSucceeded"), ((string?)Sandbox.Condition(status, "Complete")!["status"], (string?)Sandbox.Condition(status, "Complete")!["reason"]));
        Assert.Equal("False", (string?)Sandbox.Condition(status, "Failed")!["status"]);
        Assert.Equal(((1, 0, 0), "0-1", 300), (Sandbox.Counters(status), (string?)status["succeededNodes"], (int)status["progress"]!["step"]!));
        Assert.Equal(["a-1-0", "a-1-1"], await cluster.NamesAsync("pods"));
        await cluster.UntilAsync("nothing protects pods that have ended", async () => await cluster.FindAsync("poddisruptionbudgets", "a") is null);
    }

    [Fact]
    [Trait("Scenario", "16")]
    public async Task S16_OneRankIsUnfinished_JobGoesOn()
    {
        Sandbox cluster = await server.SandboxAsync();
        await cluster.RunJobAsync("a");

        await cluster.Kubelet.FinishAsync("a-1-0", 0);
        JsonNode status = await cluster.CountedAsync("a", "one has succeeded", s => (int?)s["nodes"]!["succeeded"] == 1);
        Assert.Equal(("Running", "2/2", "False"), ((string?)status["phase"], (string?)status["nodesText"], (string?)Sandbox.Condition(status, "Complete")!["status"]));

        await cluster.Kubelet.FinishAsync("a-1-1", 0);
        await cluster.UntilPhaseAsync("a", "Complete");
    }

    [Theory]
    [InlineData("Rank0", 1, null)]
    [InlineData("Rank0", 0, "Rank0Succeeded")]
    [InlineData("AllNodes", 0, null)]
    [Trait("Scenario", "17")]
    public async Task S17_OneNodeSucceeds_ThePolicyDecides(string policy, int node, string? reason)
    {
        Sandbox cluster = await server.SandboxAsync();
        await cluster.RunJobAsync("a", $$"""{"image":"w","numNodes":2,"progress":{"mode":"None"},"successPolicy":"{{policy}}"}""");

        await cluster.Kubelet.FinishAsync($"a-1-{node}", 0);
        JsonNode status = await cluster.CountedAsync("a", "one has succeeded", s => (int?)s["nodes"]!["succeeded"] == 1);

        Assert.Equal(reason is null ? "Running" : "Complete", (string?)status["phase"]);
        if (reason is not null)
        {
            Assert.Equal(reason, (string?)Sandbox.Condition(status, "Complete")!["reason"]);
            await cluster.UntilAsync("the other pod is ended", async () => (await cluster.NamesAsync("pods")).Length == 1);
        }
    }

    [Theory]
    [InlineData("Running", "a-1-0")]
    [InlineData("All", "")]
    [InlineData("None", "a-1-0 a-1-1")]
    [Trait("Scenario", "30")]
    public async Task S30_JobEnds_PodsGoByThePolicy(string policy, string left)
    {
        Sandbox cluster = await server.SandboxAsync();
        await cluster.RunJobAsync("a", $$"""{"image":"w","numNodes":2,"progress":{"mode":"None"},"successPolicy":"Rank0","cleanPodPolicy":"{{policy}}"}""");

        await cluster.Kubelet.FinishAsync("a-1-0", 0);
        await cluster.UntilPhaseAsync("a", "Complete");

        await cluster.UntilAsync($"left are {left}", async () => string.Join(' ', await cluster.NamesAsync("pods")) == left);
    }
}

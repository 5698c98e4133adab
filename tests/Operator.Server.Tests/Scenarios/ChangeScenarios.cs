using System.Text.Json.Nodes;

namespace DeepSpeedSharp.Operator.Server.Tests.Scenarios;

/// <summary>What comes before the trainer, what a job refers to, and changes of size.</summary>
public sealed class ChangeScenarios(ScenarioServer server)
{
    [Fact]
    [Trait("Scenario", "50")]
    public async Task S50_Initializers_ArePartOfEachPod_AndKnowTheirRank()
    {
        Sandbox cluster = await server.SandboxAsync();
        await cluster.CreateJobAsync("a", """
            {"image":"w","numNodes":2,"progress":{"mode":"None"},"template":{"spec":{"initContainers":[{"name":"data","image":"loader:1","command":["load"]}]}}}
            """);
        await cluster.CreatedAsync("a");

        Assert.All(await cluster.ListAsync("pods"), pod =>
        {
            JsonNode init = Assert.Single(pod["spec"]!["initContainers"]!.AsArray())!;
            Assert.Equal(("data", "loader:1"), ((string?)init["name"], (string?)init["image"]));
            Assert.Contains(init["env"]!.AsArray(), e => (string?)e!["name"] == "NODE_RANK"
                && (string?)e["value"] == (string?)pod["metadata"]!["labels"]!["deepspeedsharp.dev/node-rank"]);
            Assert.Equal("trainer", (string?)Assert.Single(pod["spec"]!["containers"]!.AsArray())!["name"]);
        });
    }

    [Fact]
    [Trait("Scenario", "51")]
    [Trait("Scenario", "52")]
    public async Task S51And52_WhatAJobRefersToIsMissing_ItWaits_AndLaterEditsAreForTheNextStart()
    {
        Sandbox cluster = await server.SandboxAsync();
        await cluster.CreateJobAsync("a", """{"image":"w","progress":{"mode":"None"},"configRef":{"name":"mine"},"restart":{"backoffSeconds":0}}""");
        JsonNode waits = await cluster.UntilAsync("a", "Scheduled", "ConfigNotFound");
        Assert.Contains("ConfigMap mine, which configRef names", (string?)waits["message"]);
        Assert.Empty(await cluster.NamesAsync("pods"));

        await cluster.Api.PostAsync(cluster.Path("configmaps"),
            """{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"mine"},"data":{"ds_config.json":"{\"train_batch_size\": 4}"}}""");
        await cluster.RunPodsAsync("a");
        await cluster.Api.PatchAsync(cluster.Path("configmaps", "mine"), """{"data":{"ds_config.json":"{\"train_batch_size\": 8}"}}""");
        Assert.Equal("""{"train_batch_size": 4}""", (string?)(await cluster.FindAsync("configmaps", "a-1"))!["data"]!["ds_config.json"]);

        await cluster.Kubelet.FinishAsync("a-1-0", 1);
        JsonNode status = await cluster.RunPodsAsync("a", 2);

        Assert.Equal("""{"train_batch_size": 8}""", (string?)(await cluster.FindAsync("configmaps", "a-2"))!["data"]!["ds_config.json"]);
        Assert.Equal(((2, 1, 0), 8), (Sandbox.Counters(status), (int)status["batch"]!["trainBatchSize"]!));
    }

    [Fact]
    [Trait("Scenario", "53")]
    public async Task S53_ReservedVariables_AreRefusedTogether()
    {
        Sandbox cluster = await server.SandboxAsync();
        await cluster.CreateJobAsync("a", """
            {"image":"w","env":[{"name":"RANK","value":"7"}],"template":{"spec":{"containers":[{"name":"trainer","env":[{"name":"MASTER_ADDR","value":"me"}]}]}}}
            """);

        string message = await cluster.RefusalAsync("a");

        Assert.Contains("RANK", message);
        Assert.Contains("MASTER_ADDR is set by the job itself", message);
    }

    [Fact]
    [Trait("Scenario", "54")]
    public async Task S54_ElasticJob_ChangesItsSize_AndShrinksWhenThereIsNoRoom()
    {
        Sandbox cluster = await server.SandboxAsync();
        await cluster.RunJobAsync("a", """
            {"image":"w","numNodes":2,"progress":{"mode":"None"},"elastic":{"minNodes":1,"maxNodes":4,"scaleDownAfterSeconds":1},
             "config":{"train_batch_size":12,"train_micro_batch_size_per_gpu":1} }
            """);

        await cluster.EditAsync("a", """{"numNodes":3}""");
        await cluster.UntilAsync("three pods exist", async () => (await cluster.NamesAsync("pods")).SequenceEqual(["a-2-0", "a-2-1", "a-2-2"]));
        await cluster.Kubelet.RunAsync("a-2-0");
        await cluster.Kubelet.RunAsync("a-2-1");
        await cluster.Kubelet.RefuseAsync("a-2-2", "0/2 nodes are available");
        JsonNode status = await cluster.RunPodsAsync("a", 3);

        Assert.Equal(["a-3-0", "a-3-1"], await cluster.NamesAsync("pods"));
        Assert.Equal(((3, 0, 0), 2, "1-4", 6), (Sandbox.Counters(status), (int)status["resizes"]!, (string?)status["elastic"]!["nodeCounts"],
            (int)status["batch"]!["gradientAccumulationSteps"]!));
    }
}

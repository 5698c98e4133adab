using System.Globalization;
using System.Text.Json.Nodes;

namespace DeepSpeedSharp.Operator.Server.Tests.Scenarios;

/// <summary>Machines that do not answer, and namespaces that go.</summary>
public sealed class ClusterLossScenarios(ScenarioServer server)
{
    [Fact]
    [Trait("Scenario", "65")]
    public async Task S65_MachineDoesNotAnswer_JobGoesOnAfterTheConfiguredTime()
    {
        Sandbox cluster = await server.SandboxAsync();
        cluster.HoldEndingPods();
        string good = $"{cluster.Namespace}-good", bad = $"{cluster.Namespace}-bad";
        foreach (string machine in new[] { good, bad })
        {
            await cluster.Api.PostAsync("/api/v1/nodes", $$$"""{"apiVersion":"v1","kind":"Node","metadata":{"name":"{{{machine}}}"} }""");
            await AnswerAsync(cluster, machine, isReady: true);
        }

        await cluster.CreateJobAsync("a", """{"image":"w","numNodes":2,"progress":{"mode":"None"},"restart":{"nodeLossSeconds":2,"backoffSeconds":0,"maxRestarts":0}}""");
        await cluster.CreatedAsync("a");
        await cluster.Kubelet.RunAsync("a-1-0", good);
        await cluster.Kubelet.RunAsync("a-1-1", bad);
        await cluster.UntilPhaseAsync("a", "Running");

        DateTimeOffset cut = await AnswerAsync(cluster, bad, isReady: false);
        JsonNode status = await cluster.UntilAsync("a", "another attempt begins", s => (int?)s["attempt"] == 2);

        JsonNode lost = status["lastFailures"]![0]!;
        Assert.Equal((2, 0, 1), Sandbox.Counters(status));
        Assert.Equal(("NodeLost", "a-1-1", bad), ((string?)lost["reason"], (string?)lost["pod"], (string?)lost["clusterNode"]));
        Assert.True(Time(status, "lastStartTime") >= cut.AddSeconds(2), "too early");

        // The pod of the machine that answers is waited for, the stuck one is removed by force.
        await cluster.UntilAsync("the stuck pod is gone", async () => (await cluster.NamesAsync("pods")).SequenceEqual(["a-1-0"]));
        await cluster.Kubelet.RemoveAsync("a-1-0");
        await cluster.RunPodsAsync("a", 2);
    }

    [Fact]
    [Trait("Scenario", "66")]
    public async Task S66_NamespaceIsDeletedInTheMiddle_JobSaysWhyItCannotGoOn_AndEndsQuietly()
    {
        Sandbox cluster = await server.SandboxAsync();
        await cluster.RunJobAsync("a");
        await cluster.Api.DeleteAsync($"/api/v1/namespaces/{cluster.Namespace}", """{"apiVersion":"v1","kind":"DeleteOptions"}""");

        // As the namespace controller of a whole cluster would, in an order that nobody can rely on.
        await cluster.Kubelet.DeleteAsync("a-1-1");
        JsonNode scheduled = await cluster.UntilAsync("a", "Scheduled", "ForbiddenByAdmission");
        Assert.Contains("being terminated", (string?)scheduled["message"]);
        await cluster.Api.DeleteAsync(cluster.Path("deepspeedjobs", "a"), """{"apiVersion":"v1","kind":"DeleteOptions"}""");
        await cluster.UntilAsync("its metrics are gone", async () => !(await server.MetricsAsync()).Contains($"""deepspeedjob_status_phase{"{"}namespace="{cluster.Namespace}",name="a",phase="Pending"{"}"}""", StringComparison.Ordinal));

        Assert.Null(await cluster.FindAsync("deepspeedjobs", "a"));
        Assert.DoesNotContain(await cluster.NamesAsync("pods"), p => p.StartsWith("a-2-", StringComparison.Ordinal));
    }

    private static async Task<DateTimeOffset> AnswerAsync(Sandbox cluster, string machine, bool isReady)
    {
        DateTimeOffset now = TimeProvider.System.GetUtcNow();
        await cluster.Api.PatchAsync($"/api/v1/nodes/{machine}/status", string.Create(CultureInfo.InvariantCulture, $$$"""
            {"status":{"conditions":[{"type":"Ready","status":"{{{(isReady ? "True" : "Unknown")}}}","lastTransitionTime":"{{{now.UtcDateTime:yyyy-MM-ddTHH:mm:ssZ}}}"}]}}
            """));
        return now.AddTicks(-(now.Ticks % TimeSpan.TicksPerSecond));
    }

    private static DateTimeOffset Time(JsonNode node, string name) =>
        DateTimeOffset.Parse((string)node[name]!, CultureInfo.InvariantCulture, DateTimeStyles.AssumeUniversal);
}

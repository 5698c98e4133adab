using System.Text.Json.Nodes;
using DeepSpeedSharp.Operator.Tests;

namespace DeepSpeedSharp.Operator.Server.Tests.Scenarios;

/// <summary>Jobs that rest, edits, queues, and jobs of other controllers.</summary>
public sealed class SuspensionScenarios(ScenarioServer server)
{
    [Fact]
    [Trait("Scenario", "36")]
    public async Task S36_CreatedSuspended_HasNoPods()
    {
        Sandbox cluster = await server.SandboxAsync();
        await cluster.CreateJobAsync("a", """{"image":"w","numNodes":2,"suspend":true,"progress":{"mode":"None"}}""");
        await cluster.UntilAsync("a", "Suspended");
        Assert.Empty(await cluster.NamesAsync("pods"));
        Assert.Empty(await cluster.NamesAsync("services"));
        Assert.Null((await cluster.StatusAsync("a"))["startTime"]);

        await cluster.EditAsync("a", """{"suspend":false}""");
        JsonNode status = await cluster.RunPodsAsync("a");

        Assert.Equal(((1, 0, 0), 0, "False"), (Sandbox.Counters(status), (int)status["resumes"]!, (string?)Sandbox.Condition(status, "Suspended")!["status"]));
    }

    [Fact]
    [Trait("Scenario", "37")]
    public async Task S37_SuspendedWhileItRuns_PodsGo_AndCountsAreZero()
    {
        Sandbox cluster = await server.SandboxAsync();
        cluster.HoldEndingPods();
        await cluster.RunJobAsync("a");

        await cluster.EditAsync("a", """{"suspend":true}""");
        await cluster.UntilAsync("a", "Suspended", "PodsEnding");
        await cluster.UntilAsync("both are told to end", async () => (await cluster.ListAsync("pods")).All(p => p["metadata"]!["deletionTimestamp"] is not null));
        await cluster.Kubelet.RemoveAsync("a-1-0");
        await cluster.Kubelet.RemoveAsync("a-1-1");
        await cluster.UntilAsync("a", "Suspended", "SuspendedByUser");

        JsonNode status = await cluster.StatusAsync("a");
        Assert.Equal(("Suspended", "0/2", 0, 0), ((string?)status["phase"], (string?)status["nodesText"], (int)status["nodes"]!["ready"]!, (int)status["replicas"]!));
        Assert.Equal("False", (string?)Sandbox.Condition(status, "Running")!["status"]);
        Assert.Equal((1, 0, 0), Sandbox.Counters(status));
    }

    [Fact]
    [Trait("Scenario", "38")]
    [Trait("Scenario", "39")]
    [Trait("Scenario", "40")]
    public async Task S38To40_EditsWait_ForTheNextStart_WhichShowsThemAll()
    {
        Sandbox cluster = await server.SandboxAsync();
        await cluster.RunJobAsync("a");
        string uid = await UidAsync();

        await cluster.EditAsync("a", """{"env":[{"name":"A","value":"1"}]}""");
        JsonNode stalled = await cluster.UntilAsync("a", "Stalled", "SpecChanged");
        Assert.Contains("applies when the job starts again", (string?)stalled["message"]);
        Assert.Equal(uid, await UidAsync());

        await cluster.EditAsync("a", """{"suspend":true}""");
        await cluster.UntilAsync("a", "Suspended");
        await cluster.EditAsync("a", """
            {"suspend":false,"template":{"metadata":{"labels":{"team":"nlp"},"annotations":{"net":"rdma"}},"spec":{"nodeSelector":{"gpu":"h200"},
             "tolerations":[{"key":"gpu","operator":"Exists"}]}}}
            """);
        JsonNode status = await cluster.RunPodsAsync("a", 2);

        Assert.Equal(((2, 0, 0), 1, "Resumed"), (Sandbox.Counters(status), (int)status["resumes"]!, (string?)Sandbox.Condition(status, "Suspended")!["reason"]));
        JsonNode pod = (await cluster.FindAsync("pods", "a-2-1"))!;
        Assert.Equal(("nlp", "rdma", "h200"), ((string?)pod["metadata"]!["labels"]!["team"], (string?)pod["metadata"]!["annotations"]!["net"], (string?)pod["spec"]!["nodeSelector"]!["gpu"]));
        Assert.Contains(pod["spec"]!["tolerations"]!.AsArray(), t => (string?)t!["key"] == "gpu");
        Assert.Contains(pod["spec"]!["containers"]![0]!["env"]!.AsArray(), e => (string?)e!["name"] == "A");

        async Task<string> UidAsync() => (string)(await cluster.FindAsync("pods", "a-1-0"))!["metadata"]!["uid"]!;
    }

    [Fact]
    [Trait("Scenario", "41")]
    public async Task S41_JobOfAnotherController_IsUntouched_AndABadOneIsRefused()
    {
        Sandbox cluster = await server.SandboxAsync();
        await cluster.CreateJobAsync("theirs", """{"image":"w","managedBy":"kueue.x-k8s.io/multikueue"}""");
        await cluster.CreateJobAsync("ours", """{"image":"w","managedBy":"deepspeedsharp.dev/controller","progress":{"mode":"None"}}""");
        await cluster.RunPodsAsync("ours");

        InvalidOperationException refused = await Assert.ThrowsAsync<InvalidOperationException>(() =>
            cluster.CreateJobAsync("bad", """{"image":"w","managedBy":"somebody"}"""));

        Assert.Contains("spec.managedBy", refused.Message);
        Assert.Null((await cluster.FindAsync("deepspeedjobs", "theirs"))!["status"]);
        Assert.Equal(["ours-1-0"], await cluster.NamesAsync("pods"));
    }

    [Fact]
    [Trait("Scenario", "43")]
    public async Task S43_QueueOfARunningJob_CannotBeChanged()
    {
        Sandbox cluster = await server.SandboxAsync();
        await cluster.Api.PostAsync("/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
            await File.ReadAllTextAsync(RepositoryFiles.Path("tests", "Operator.Cluster.Tests", "apis", "volcano.yaml"), TestContext.Current.CancellationToken), "application/yaml");
        await cluster.CreateJobAsync("a", """{"image":"w","progress":{"mode":"None"},"scheduling":{"gang":"Volcano","queue":"research"}}""");
        await AdmitAsync("a-1");
        await cluster.RunPodsAsync("a");

        // Servers from 1.25 on refuse the edit themselves.
        try
        {
            await cluster.EditAsync("a", """{"scheduling":{"queue":"other"}}""");
            JsonNode stalled = await cluster.UntilAsync("a", "Stalled", "InvalidSpec");
            Assert.Contains("spec.scheduling.queue: it was research when the job started and can be changed only while the job is suspended", (string?)stalled["message"]);
            await cluster.EditAsync("a", """{"scheduling":{"queue":"research"}}""");
            await cluster.UntilAsync("a", "Stalled", "SpecIsValid");
        }
        catch (InvalidOperationException e) when (e.Message.Contains("422", StringComparison.Ordinal))
        {
            Assert.Contains("scheduling.queue can be changed only while the job is suspended", e.Message);
        }

        Assert.Equal(("Running", "research"), ((string?)(await cluster.StatusAsync("a"))["phase"], (string?)(await cluster.StatusAsync("a"))["gang"]!["queue"]));
        await cluster.EditAsync("a", """{"suspend":true}""");
        await cluster.UntilAsync("a", "Suspended");
        await cluster.EditAsync("a", """{"suspend":false,"scheduling":{"queue":"other"}}""");
        await AdmitAsync("a-2");
        await cluster.RunPodsAsync("a", 2);
        Assert.Equal("other", (string?)(await cluster.FindAsync("podgroups", "a-2"))!["spec"]!["queue"]);

        async Task AdmitAsync(string group)
        {
            await cluster.UntilAsync($"group {group} exists", async () => await cluster.FindAsync("podgroups", group) is not null);
            await cluster.Api.PatchAsync(cluster.Path("podgroups", group), """{"status":{"phase":"Inqueue"}}""");
        }
    }
}

using System.Globalization;
using System.Text.Json.Nodes;

namespace DeepSpeedSharp.Operator.Server.Tests.Scenarios;

/// <summary>Deadlines, and jobs that are deleted after their end.</summary>
public sealed class TimeScenarios(ScenarioServer server)
{
    [Fact]
    [Trait("Scenario", "32")]
    [Trait("Scenario", "35")]
    public async Task S32And35_ActiveDeadline_CountsAnewAfterAResume_AndFailsTheJob()
    {
        const int seconds = 4;
        Sandbox cluster = await server.SandboxAsync();
        await cluster.CreateJobAsync("a", $$"""{"image":"w","progress":{"mode":"None"},"activeDeadlineSeconds":{{seconds}} }""");
        JsonNode first = await cluster.UntilAsync("a", "it starts", s => s["activeStartTime"] is not null);
        await cluster.EditAsync("a", """{"suspend":true}""");
        await cluster.UntilAsync("a", "Suspended");
        await cluster.UntilAsync("the deadline would be over", () => Task.FromResult(TimeProvider.System.GetUtcNow() > Time(first, "activeStartTime").AddSeconds(seconds + 1)));
        Assert.Equal("Suspended", (string?)(await cluster.StatusAsync("a"))["phase"]);

        await cluster.EditAsync("a", """{"suspend":false}""");
        JsonNode failed = await cluster.UntilPhaseAsync("a", "Failed");

        Assert.Equal("DeadlineExceeded", (string?)Sandbox.Condition(failed, "Failed")!["reason"]);
        Assert.True(Time(failed, "activeStartTime") > Time(first, "activeStartTime").AddSeconds(seconds), "the clock goes on from the first start");
        Assert.True(Time(failed, "completionTime") >= Time(failed, "activeStartTime").AddSeconds(seconds), "the job failed too early");
        await cluster.UntilAsync("its pods are ended", async () => (await cluster.NamesAsync("pods")).Length == 0);
    }

    [Fact]
    [Trait("Scenario", "33")]
    public async Task S33_PodsFindNoPlace_StartupDeadlineSaysWhatTheyWaitedFor()
    {
        Sandbox cluster = await server.SandboxAsync();
        await cluster.CreateJobAsync("a", """{"image":"w","numNodes":2,"progress":{"mode":"None"},"startupDeadlineSeconds":3}""");
        await cluster.UntilAsync("pods exist", async () => (await cluster.NamesAsync("pods")).Length == 2);
        await cluster.Kubelet.RunAsync("a-1-0");
        await cluster.Kubelet.RefuseAsync("a-1-1", "0/4 nodes are available: 4 Insufficient nvidia.com/gpu.");

        JsonNode failed = Sandbox.Condition(await cluster.UntilPhaseAsync("a", "Failed"), "Failed")!;

        Assert.Equal("StartupDeadlineExceeded", (string?)failed["reason"]);
        Assert.EndsWith("1 of 2 pods found no place; a-1-1: 0/4 nodes are available: 4 Insufficient nvidia.com/gpu.", (string?)failed["message"]);
    }

    [Theory]
    [InlineData(0, 0)]
    [InlineData(2, 0)]
    [InlineData(1, 1)]
    [Trait("Scenario", "34")]
    public async Task S34_FinishedJob_IsDeletedAfterItsTime(int seconds, int exitCode)
    {
        Sandbox cluster = await server.SandboxAsync();
        await cluster.RunJobAsync("a", $$"""{"image":"w","progress":{"mode":"None"},"restart":{"policy":"Never"},"ttlSecondsAfterFinished":{{seconds}} }""");

        await cluster.Kubelet.FinishAsync("a-1-0", exitCode);
        JsonNode job = new JsonObject();
        await cluster.UntilAsync("the job is deleted", async () =>
            (job = (await cluster.FindAsync("deepspeedjobs", "a"))!)["metadata"]!["deletionTimestamp"] is not null);

        // In the foreground: the garbage collector of a whole cluster then ends what it owns, and lets it go.
        Assert.Equal(["foregroundDeletion"], job["metadata"]!["finalizers"]!.AsArray().Select(f => (string?)f));
        Assert.Equal(exitCode == 0 ? "Complete" : "Failed", (string?)job["status"]!["phase"]);
        Assert.True(Time(job["metadata"]!, "deletionTimestamp") >= Time(job["status"]!, "completionTime").AddSeconds(seconds), "too early");
    }

    private static DateTimeOffset Time(JsonNode node, string name) =>
        DateTimeOffset.Parse((string)node[name]!, CultureInfo.InvariantCulture, DateTimeStyles.AssumeUniversal);
}

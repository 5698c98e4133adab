using System.Globalization;
using System.Text.Json.Nodes;

namespace DeepSpeedSharp.Operator.Cluster.Tests;

[Trait("Category", "Slow")]
public sealed class TwoNodesTests(TestCluster cluster) : ClusterTest(cluster)
{
    private const int NodeLossSeconds = 10;

    // Job parted has rank 0 on the machine that is cut off and rank 1 elsewhere: both lose each other. Job lonely has its
    // whole world there: it trains and saves on to the shared volume as if nothing had happened, until it is told not to.
    [Fact]
    public async Task Node_CutOffInMidTraining_JobsGoOnElsewhereAndTheirCheckpointsStayWhole()
    {
        NeedsThisMachine("cutting a node off");
        Kubectl kubectl = Story("13-node-cut-off");
        await Cluster.Node("start", 2);
        try
        {
            await using Job parted = await Job.ApplyAsync(kubectl, "parted", Job.Manifest("parted.yaml"));
            await using Job lonely = await Job.ApplyAsync(kubectl, "lonely", Job.Manifest("lonely.yaml"));
            foreach (Job job in new[] { parted, lonely })
            {
                await job.WaitAsync("a checkpoint", s => (long?)s["progress"]?["lastCheckpointStep"] >= 20, 120);
            }

            await kubectl.ShowAsync("get", "dsj,pods,nodes", "-o", "wide");
            Assert.Equal(["node-1", "node-2"], (await MachinesAsync(parted, 1)).Order());
            Assert.Equal(["node-2"], await MachinesAsync(lonely, 1));
            string[] cutOff = [.. await UidsOnAsync(parted, "node-2"), .. await UidsOnAsync(lonely, "node-2")];
            string silent = (await parted.PodsAsync()).Where(p => (string?)p["spec"]!["nodeName"] == "node-2").Select(p => (string)p["metadata"]!["name"]!).Single();
            await kubectl.NoteAsync("the cable of node-2 is pulled");
            await Cluster.Node("cut", 2);
            try
            {
                await LonelyGoesOnOnceAsync(kubectl, lonely, cutOff[^1]);
                await PartedGoesOnAsync(kubectl, parted, silent);
                await parted.WaitAsync("the worker that is cut off has ended with a verdict", () => Task.FromResult(
                    Cluster.LogOn(2, cutOff[0]).Contains("lost rank", StringComparison.Ordinal)), 60);
                await kubectl.NoteAsync($"the end of the log of {silent} on node-2, which is cut off:\n{Tail(Cluster.LogOn(2, cutOff[0]))}");
            }
            finally
            {
                await Cluster.Node("join", 2);
            }

            await kubectl.NoteAsync("the cable of node-2 is plugged in again");
            await parted.WaitAsync("node-2 is ready again", async () => (await kubectl.GetAsync("get", "node", "node-2", "-o",
                "jsonpath={.status.conditions[?(@.type==\"Ready\")].status}")) == "True", 120);
            await parted.WaitAsync("nothing of the old pods runs any more", () => Task.FromResult(cutOff.All(uid => PodProcesses.Of(uid).Count == 0)), 120);
            JsonNode done = await parted.WaitForPhaseAsync("Complete", 240);
            await kubectl.ShowAsync("get", "dsj,pods,nodes", "-o", "wide");
            await kubectl.ShowAsync("describe", "dsj", "parted");
            Assert.Equal((2, 100), ((int)done["attempt"]!, (int)done["progress"]!["percent"]!));
            await VerifyAsync(kubectl, parted);
        }
        finally
        {
            await Cluster.Node("stop", 2);
        }
    }

    private async Task LonelyGoesOnOnceAsync(Kubectl kubectl, Job lonely, string isolated)
    {
        JsonNode status = await lonely.WaitAsync("attempt 2", s => (int?)s["attempt"] == 2, 180);
        JsonNode failure = status["lastFailures"]![0]!;
        Assert.Equal(("NodeLost", "node-2", "lonely-1-0"),
            ((string?)failure["reason"], (string?)failure["clusterNode"], (string?)failure["pod"]));
        Assert.Equal((0, 1), ((int)status["restarts"]!, (int)status["disruptions"]!));

        // From when the cluster says that the machine does not answer.
        DateTimeOffset silent = Time(await kubectl.GetAsync("get", "node", "node-2", "-o",
            "jsonpath={.status.conditions[?(@.type==\"Ready\")].lastTransitionTime}"));
        double seconds = (Time((string)status["lastStartTime"]!) - silent).TotalSeconds;
        await kubectl.NoteAsync($"attempt 2 of lonely began {seconds:0} s after node-2 was NotReady; restart.nodeLossSeconds is {NodeLossSeconds}");
        Assert.InRange(seconds, NodeLossSeconds, NodeLossSeconds + 20);

        await lonely.WaitAsync("its new pod runs", async () =>
            (await MachinesAsync(lonely, 2)).SequenceEqual(["node-1"]), 60);
        await lonely.WaitAsync("the old worker is refused and ends, cut off as it is", () => Task.FromResult(
            Cluster.LogOn(2, isolated).Contains("attempt 2 of job ", StringComparison.Ordinal)), 120);
        await kubectl.NoteAsync($"the end of the log of lonely-1-0 on node-2, which is cut off:\n{Tail(Cluster.LogOn(2, isolated))}");
        await lonely.WaitAsync("the new one has resumed and saved", async () =>
            (await kubectl.RunAsync("logs", "lonely-2-0", "--tail=-1")).Output is var log
            && log.Contains("resuming after step", StringComparison.Ordinal) && log.Contains("saved /checkpoints/lonely/", StringComparison.Ordinal), 120);
        await kubectl.ShowAsync("logs", "lonely-2-0", "--tail=20");
        await kubectl.RunAsync("patch", "dsj", "lonely", "--type=merge", "-p", """{"spec":{"suspend":true}}""");
        await lonely.WaitAsync("condition Suspended", s => (string?)Job.Condition(s, "Suspended")?["status"] == "True", 60);
        await lonely.WaitAsync("its new pod has ended", async () => (await lonely.PodsAsync()).All(
            p => (string?)p["status"]!["phase"] is "Succeeded" or "Failed"), 60);
        await VerifyAsync(kubectl, lonely);
    }

    private static async Task PartedGoesOnAsync(Kubectl kubectl, Job parted, string silent)
    {
        JsonNode status = await parted.WaitAsync("attempt 2 runs", s => (int?)s["attempt"] == 2 && (string?)s["phase"] is "Running" or "Complete", 180);
        await kubectl.ShowAsync("get", "dsj,pods,nodes", "-o", "wide");
        JsonNode failure = status["lastFailures"]![0]!;
        Assert.Equal(("NodeLost", "node-2", silent), ((string?)failure["reason"], (string?)failure["clusterNode"], (string?)failure["pod"]));
        Assert.Equal((0, 1), ((int)status["restarts"]!, (int)status["disruptions"]!));
        Assert.Equal(["node-1", "node-1"], await MachinesAsync(parted, 2));
        await parted.WaitAsync("it resumes", async () => (await kubectl.RunAsync("logs", "parted-2-0", "--tail=-1")).Output
            .Contains("resuming after step", StringComparison.Ordinal), 60);
    }

    private static async Task VerifyAsync(Kubectl kubectl, Job job)
    {
        string folder = (await job.CheckpointsAsync())!;
        string[] tags = [.. Directory.GetDirectories(folder, "global_step*").Select(path => Path.GetFileName(path))];
        Assert.Contains((await File.ReadAllTextAsync(Path.Combine(folder, "latest"))).Trim(), tags);
        foreach (string tag in tags)
        {
            (int code, string text) = await LauncherRun.RunAsync(kubectl, "checkpoint", "verify", folder, "--tag", tag);
            Assert.True(code == 0, text);
        }
    }

    private static async Task<string[]> MachinesAsync(Job job, int attempt) => [.. (await job.PodsAsync())
        .Where(p => (string?)p["metadata"]!["labels"]!["deepspeedsharp.dev/attempt"] == attempt.ToString(CultureInfo.InvariantCulture))
        .Select(p => (string?)p["spec"]!["nodeName"] ?? "")];

    private static async Task<string[]> UidsOnAsync(Job job, string machine) => [.. (await job.PodsAsync())
        .Where(p => (string?)p["spec"]!["nodeName"] == machine).Select(p => (string)p["metadata"]!["uid"]!)];

    private static DateTimeOffset Time(string text) => DateTimeOffset.Parse(text, CultureInfo.InvariantCulture);

    private static string Tail(string log) => string.Join('\n', log.TrimEnd().Split('\n').TakeLast(5));
}

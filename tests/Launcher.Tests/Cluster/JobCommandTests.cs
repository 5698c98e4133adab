using System.Net;
using System.Net.Sockets;
using System.Text.Json;
using Microsoft.AspNetCore.Http;

namespace DeepSpeedSharp.Launcher.Tests.Cluster;

/// <summary><c>deepspeed jobs</c>, <c>logs</c>, <c>describe</c> and <c>stop</c>, and clusters that cannot be reached.</summary>
public sealed class JobCommandTests
{
    private const string Running = """
        { "phase": "Running", "attempt": 2, "restarts": 1, "nodesText": "2/2", "worldSize": 2, "masterAddress": "tiny-2-0.tiny:29500",
          "progress": { "step": 40, "totalSteps": 300, "loss": "2.5", "tokensPerSecond": 12345, "etaSeconds": 90 },
          "lastFailures": [{ "attempt": 1, "time": "2026-01-01T00:00:00Z", "node": 1, "exitCode": 9, "reason": "NodeFailed", "message": "out of luck" }],
          "conditions": [{ "type": "Running", "status": "True", "reason": "AllNodesReady" }] }
        """;

    [Fact]
    public async Task Jobs_OfOneAndOfAllNamespaces_AreListed()
    {
        await using JobCluster cluster = await JobCluster.StartAsync();
        cluster.Create();
        cluster.Create("other", "trials");
        cluster.Status(Running);

        (int exitCode, string one) = await cluster.RunAsync("jobs");
        (_, string all) = await cluster.RunAsync("jobs", "-A");
        (_, string json) = await cluster.RunAsync("jobs", "--json", "-n", "trials");
        (_, string none) = await cluster.RunAsync("jobs", "-n", "empty");

        Assert.Equal(0, exitCode);
        Assert.Matches(@"^NAME +PHASE +NODES +STEP +LOSS +RESTARTS +AGE\ntiny +Running +2/2 +40/300 +2\.5 +1 +[0-9]+[smhd]\n$", one);
        Assert.Matches(@"trials +other +Pending", all);
        Assert.Equal("other", JsonDocument.Parse(json).RootElement[0].GetProperty("metadata").GetProperty("name").GetString());
        Assert.Contains("no jobs in namespace empty", none, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Describe_Job_ShowsStatusFailuresPodsAndEvents()
    {
        await using JobCluster cluster = await JobCluster.StartAsync();
        cluster.Create();
        cluster.Status(Running);
        cluster.Pod(2, 0);
        cluster.Api.Store.Create(new("events", "default", null, null), System.Text.Json.Nodes.JsonNode.Parse("""
            { "metadata": { "name": "e1" }, "type": "Warning", "reason": "NodeFailed", "message": "node 1 failed", "lastTimestamp": "2026-01-01T00:00:00Z" }
            """)!.AsObject());

        (int exitCode, string text) = await cluster.RunAsync("describe", "tiny");

        Assert.Equal(0, exitCode);
        foreach (string expected in (string[])["phase     Running", "attempt   2, after 1 restarts", "step 40 of 300, loss 2.5, 12,345 tokens/s, 90s left",
            "attempt 1, node 1 (NodeFailed) with exit code 9: out of luck", "Running  True  AllNodesReady", "tiny-2-0  Running  machine-1", "node 1 failed"])
        {
            Assert.Contains(expected, text, StringComparison.Ordinal);
        }
    }

    [Fact]
    public async Task Logs_NodeTailAndAttempt_ChooseLines()
    {
        await using JobCluster cluster = await JobCluster.StartAsync();
        cluster.Create();
        cluster.Print(cluster.Pod(1, 0), "old");
        cluster.Print(cluster.Pod(2, 0), "a", "b", "c");
        cluster.Print(cluster.Pod(2, 1), "d");

        (_, string all) = await cluster.RunAsync("logs", "tiny");
        (_, string last) = await cluster.RunAsync("logs", "tiny", "--node", "0", "--tail", "1");
        (_, string old) = await cluster.RunAsync("logs", "tiny", "--attempt", "1");
        (int exitCode, string none) = await cluster.RunAsync("logs", "tiny", "--node", "7");

        Assert.Equal("[node 0] a\n[node 0] b\n[node 0] c\n[node 1] d\n", all);
        Assert.Equal("[node 0] c\n", last);
        Assert.Equal("[node 0] old\n", old);
        Assert.Equal(78, exitCode);
        Assert.Contains("it has tiny-1-0, tiny-2-0, tiny-2-1", none, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Logs_FollowedOverARestart_SkipWhatIsOverAndShowNewPodsFromTheirFirstLine()
    {
        await using JobCluster cluster = await JobCluster.StartAsync();
        cluster.Create();
        string failed = cluster.Pod(1, 0);
        cluster.Print(failed, "long ago");
        cluster.End(failed);
        string running = cluster.Pod(2, 0);
        cluster.Print(running, "a", "b");
        cluster.Status(Running);
        using LauncherProcess logs = cluster.Start("logs", "tiny", "-f", "--tail", "1");
        await logs.PrintsAsync("[node 0] b");

        string next = cluster.Pod(3, 0);
        cluster.Print(next, "c", "d", "e");
        cluster.End(running);

        await logs.PrintsAsync("[node 0] e");
        Assert.Equal(["b", "c", "d", "e"],
            logs.Text.Split('\n').Where(line => line.StartsWith("[node 0] ", StringComparison.Ordinal)).Select(line => line["[node 0] ".Length..]));
    }

    [Fact]
    public async Task Describe_FailureInTheOperatorsWords_IsSaidOnce()
    {
        await using JobCluster cluster = await JobCluster.StartAsync();
        cluster.Create();
        cluster.Status("""
            { "phase": "Failed", "attempt": 1, "message": "Node 1 (pod tiny-1-1 on gpu-7) failed with exit code 3: no luck. Look at its log.",
              "lastFailures": [{ "attempt": 1, "time": "2026-01-01T00:00:00Z", "node": 1, "exitCode": 3, "reason": "NodeFailed",
                "message": "node 1 (pod tiny-1-1 on gpu-7) failed with exit code 3: no luck" }],
              "conditions": [
                { "type": "Scheduled", "status": "False", "reason": "NotStarted" },
                { "type": "Failed", "status": "True", "reason": "MaxRestartsExceeded",
                  "message": "Node 1 (pod tiny-1-1 on gpu-7) failed with exit code 3: no luck. Look at its log." }] }
            """);

        (_, string text) = await cluster.RunAsync("describe", "tiny");

        Assert.Contains("ago  attempt 1 (NodeFailed): node 1 (pod tiny-1-1 on gpu-7) failed with exit code 3: no luck\n", text, StringComparison.Ordinal);
        Assert.Contains("Failed  True  MaxRestartsExceeded\n", text, StringComparison.Ordinal);
        Assert.DoesNotContain("NotStarted", text, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Stop_Job_SuspendsOrDeletesIt()
    {
        await using JobCluster cluster = await JobCluster.StartAsync();
        cluster.Create();

        (int stopped, string text) = await cluster.RunAsync("stop", "tiny");
        bool isSuspended = (bool)cluster.Job()!["spec"]!["suspend"]!;
        (int deleted, _) = await cluster.RunAsync("stop", "tiny", "--delete");
        (int missing, string absent) = await cluster.RunAsync("stop", "tiny");

        Assert.Equal((0, 0, 78), (stopped, deleted, missing));
        Assert.True(isSuspended);
        Assert.Contains("job tiny stops: its pods save and end", text, StringComparison.Ordinal);
        Assert.Null(cluster.Job());
        Assert.Contains("there is no job tiny in namespace default", absent, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Kubeconfig_OfSeveralFiles_IsMergedAndAContextChosen()
    {
        await using JobCluster cluster = await JobCluster.StartAsync();
        cluster.Create("other", "trials");
        cluster.Folder.Write("second", JobCluster.Kubeconfig("there", cluster.Api.Address, "trials"));
        cluster.Folder.Write("first", JobCluster.Kubeconfig("nowhere", "http://127.0.0.1:1", "default"));
        string list = $"{cluster.Folder.Of("missing")}:{cluster.Folder.Of("first")}:{cluster.Folder.Of("second")}";

        using LauncherProcess jobs = LauncherProcess.Start(cluster.Folder.Path, [("KUBECONFIG", list), ("NO_PROXY", "*")], "jobs", "--context", "there");
        int exitCode = await jobs.ExitAsync();
        (int unknown, string text) = await cluster.RunAsync("jobs", "--context", "moon");

        Assert.Equal(0, exitCode);
        Assert.Contains("other", jobs.Text, StringComparison.Ordinal);
        Assert.Equal(78, unknown);
        Assert.Contains("--context moon", text, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Cluster_ThatCannotBeAsked_IsOneClearMessage()
    {
        await using JobCluster cluster = await JobCluster.StartAsync();
        (int missing, string noFile) = await cluster.RunAsync("jobs", "--kubeconfig", "none");
        cluster.Api.Intercept = async context =>
        {
            context.Response.StatusCode = (int)HttpStatusCode.Forbidden;
            await context.Response.WriteAsync("""{ "kind": "Status", "reason": "Forbidden", "message": "user \"eve\" cannot list" }""");
            return true;
        };
        (int forbidden, string refused) = await cluster.RunAsync("jobs");
        cluster.Folder.Write("closed", JobCluster.Kubeconfig("closed", $"http://127.0.0.1:{FreePort()}", "default"));
        (int closed, string unreachable) = await cluster.RunAsync("jobs", "--kubeconfig", "closed");

        Assert.Equal((78, 78, 75), (missing, forbidden, closed));
        Assert.Contains("--kubeconfig: there is no file none", noFile, StringComparison.Ordinal);
        Assert.Contains("user \"eve\" cannot list; ask for that right", refused, StringComparison.Ordinal);
        Assert.Contains("cannot be reached: Connection refused", unreachable, StringComparison.Ordinal);
    }

    private static int FreePort()
    {
        using var socket = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        socket.Bind(new IPEndPoint(IPAddress.Loopback, 0));
        return ((IPEndPoint)socket.LocalEndPoint!).Port;
    }
}

using System.Globalization;
using System.Net;
using System.Text.Json.Nodes;
using DeepSpeedSharp.Operator.Benchmarks;

namespace DeepSpeedSharp.Operator.Server.Tests.Scenarios;

/// <summary>What the status and the metrics say.</summary>
public sealed class StatusScenarios(ScenarioServer server)
{
    // Pods of six nodes by a letter each: r ready, w waiting for its image, p without a machine, d done.
    [Theory]
    [InlineData("rrrrrr", 6, 6, 0, "6/6", "Running")]
    [InlineData("rrwwpp", 4, 2, 0, "2/6", "Scheduling")]
    [InlineData("ddrrrr", 6, 4, 2, "6/6", "Running")]
    [InlineData("drwrrr", 6, 4, 1, "5/6", "Starting")]
    [Trait("Scenario", "56")]
    public async Task S56_CountsOfAnyMixOfPods_AddUp(string pods, int scheduled, int ready, int succeeded, string text, string phase)
    {
        Sandbox cluster = await server.SandboxAsync();
        await cluster.CreateJobAsync("a", """{"image":"w","numNodes":6,"progress":{"mode":"None"}}""");
        await cluster.CreatedAsync("a");
        for (int i = 0; i < pods.Length; i++)
        {
            await BringAsync(cluster.Kubelet, string.Create(CultureInfo.InvariantCulture, $"a-1-{i}"), pods[i]);
        }

        JsonNode status = await cluster.CountedAsync("a", $"{text} in phase {phase}", s => (string?)s["nodesText"] == text && (string?)s["phase"] == phase
            && (int)s["nodes"]!["succeeded"]! == succeeded && (int)s["nodes"]!["scheduled"]! == scheduled);

        Assert.Equal((6, 6, ready, 0, 6), ((int)status["nodes"]!["desired"]!, (int)status["nodes"]!["created"]!, (int)status["nodes"]!["ready"]!,
            (int)status["nodes"]!["failed"]!, (int)status["replicas"]!));
    }

    [Fact]
    [Trait("Scenario", "57")]
    public async Task S57_ReportsOfAnotherAttemptOrTooLarge_AreNotTakenOver()
    {
        Sandbox cluster = await server.SandboxAsync();
        int port = ControlPlane.FreePorts(1)[0];
        string report = """{"attempt":2,"step":70,"totalSteps":100}""";
        int asked = 0;
        using var trainer = new HttpListener();
        trainer.Prefixes.Add(string.Create(CultureInfo.InvariantCulture, $"http://127.0.0.1:{port}/"));
        trainer.Start();
        Task serving = ServeAsync();
        await cluster.CreateJobAsync("a", $$"""{"image":"w","metrics":{"port":{{port}}},"restart":{"backoffSeconds":0} }""");
        await cluster.CreatedAsync("a");
        await cluster.Kubelet.RunAsync("a-1-0", ip: "127.0.0.1");
        await cluster.UntilPhaseAsync("a", "Running");

        await AskedAsync();
        report = $$"""{"attempt":1,"step":60,"totalSteps":100,"padding":"{{new string('x', 5000)}}"}""";
        await AskedAsync();
        report = "not even JSON";
        await AskedAsync();
        Assert.Null((await cluster.StatusAsync("a"))["progress"]?["step"]);

        report = """{"attempt":1,"step":7,"totalSteps":100,"loss":2.5}""";
        JsonNode status = await cluster.UntilAsync("a", "its step is known", s => (int?)s["progress"]?["step"] == 7);
        Assert.Equal((7, "2.5"), ((int)status["progress"]!["percent"]!, (string?)status["progress"]!["loss"]));
        trainer.Stop();
        await serving;

        // The second question after a report was set is asked when the first one is dealt with.
        async Task AskedAsync()
        {
            int before = Volatile.Read(ref asked);
            await cluster.UntilAsync("the operator asked twice more", () => Task.FromResult(Volatile.Read(ref asked) >= before + 2));
        }

        async Task ServeAsync()
        {
            while (trainer.IsListening)
            {
                try
                {
                    HttpListenerContext context = await trainer.GetContextAsync();
                    await using (var writer = new StreamWriter(context.Response.OutputStream))
                    {
                        await writer.WriteAsync(report);
                    }

                    Interlocked.Increment(ref asked);
                }
                catch (Exception e) when (e is HttpListenerException or ObjectDisposedException)
                {
                    // The trainer was stopped, or the operator gave up: it reads no more of a report than it has to.
                    Interlocked.Increment(ref asked);
                }
            }
        }
    }

    [Fact]
    [Trait("Scenario", "58")]
    public async Task S58_Metrics_CountEachTransitionOnce()
    {
        Sandbox cluster = await server.SandboxAsync();
        await cluster.RunJobAsync("a");
        await cluster.Kubelet.FailAsync("a", 1, 1);
        await cluster.RunPodsAsync("a", 2);
        for (int i = 0; i < 3; i++)
        {
            await cluster.EditAsync("a", $$"""{"ttlSecondsAfterFinished":{{(3600 + i).ToString(CultureInfo.InvariantCulture)}} }"""); // another pass
        }

        await cluster.Kubelet.SucceedAsync("a", 2);
        await cluster.UntilPhaseAsync("a", "Complete");
        string finished = $$"""deepspeedjob_finished_total{namespace="{{cluster.Namespace}}",result="complete",reason="AllNodesSucceeded"} 1""";
        string metrics = "";
        await cluster.UntilAsync("the metrics tell the end", async () => (metrics = await server.MetricsAsync()).Contains(finished, StringComparison.Ordinal));

        Assert.Contains($$"""deepspeedjob_restarts_total{namespace="{{cluster.Namespace}}",cause="application"} 1""", metrics);
        Assert.Contains($$"""deepspeedjob_time_to_running_seconds_count{namespace="{{cluster.Namespace}}"} 1""", metrics);
        Assert.Contains($$"""deepspeedjob_status_phase{namespace="{{cluster.Namespace}}",name="a",phase="Complete"} 1""", metrics);
    }

    private static async Task BringAsync(Kubelet kubelet, string pod, char letter)
    {
        if (letter is 'r' or 'd')
        {
            await kubelet.RunAsync(pod);
        }

        if (letter == 'd')
        {
            await kubelet.FinishAsync(pod, 0);
        }
        else if (letter == 'w')
        {
            await kubelet.BindAsync(pod, "node-1");
            await kubelet.WaitAsync(pod, "ContainerCreating", "");
        }
    }
}

using System.Globalization;
using System.Text.Json.Nodes;
using DeepSpeedSharp.Operator.Benchmarks;

namespace DeepSpeedSharp.Operator.Server.Tests.Scenarios;

/// <summary>What an operator has to bear itself: each test has one of its own, which looks after one namespace.</summary>
public sealed class OperatorScenarios(OwnControlPlane server) : IClassFixture<OwnControlPlane>
{
    private const string Definition = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/deepspeedjobs.deepspeedsharp.dev";

    [Fact]
    [Trait("Scenario", "59")]
    public async Task S59_KilledAtRandomWrites_BeforeAndAfterThem_TheEndIsTheSame()
    {
        int seed = int.TryParse(Environment.GetEnvironmentVariable("CRASH_SEED"), out int given) ? given : Random.Shared.Next();
        TestContext.Current.TestOutputHelper?.WriteLine(string.Create(CultureInfo.InvariantCulture, $"CRASH_SEED={seed}"));
        (Sandbox cluster, OperatorProgram program) = await StartAsync("crashing");
        await using OperatorProgram _ = program;
        (var dice, var gate, int left, int kills) = (new Random(seed), new Lock(), 1, 0);
        program.Proxy.Breaks = _ =>
        {
            lock (gate)
            {
                // Of a pair of questions about one write, any may be the last that this process asked.
                if (--left > 0 || kills == 8)
                {
                    return false;
                }

                (left, kills) = (dice.Next(1, 8), kills + 1);
                program.Kill();
                return true;
            }
        };

        await cluster.RunJobAsync("a", """{"image":"w","numNodes":2,"progress":{"mode":"None"},"config":{"train_batch_size":8},"restart":{"backoffSeconds":1}}""");
        string[] first = await UidsAsync();
        await cluster.Kubelet.FinishAsync("a-1-1", 137);
        await cluster.Kubelet.FinishAsync("a-1-0", 69);
        await cluster.RunPodsAsync("a", 2);
        string[] second = await UidsAsync();
        await cluster.Kubelet.FinishAsync("a-2-0", 0);
        await cluster.Kubelet.FinishAsync("a-2-1", 0);
        JsonNode status = await cluster.UntilPhaseAsync("a", "Complete");

        Assert.Equal((2, 1, 0), Sandbox.Counters(status));
        Assert.Equal(["a-1-1", "a-2-0", "a-2-1"], await cluster.NamesAsync("pods"));
        Assert.Equal(["a-2"], await cluster.NamesAsync("configmaps"));
        Assert.Equal(second, await UidsAsync());
        Assert.Single(first.Intersect(second)); // the failed one, which is kept
        Assert.True(kills >= 3, $"killed only {kills} times");

        async Task<string[]> UidsAsync() => [.. (await cluster.ListAsync("pods")).Select(p => (string)p["metadata"]!["uid"]!).Order()];
    }

    [Fact]
    [Trait("Scenario", "64")]
    public async Task S64_MalformedJob_FailsAndHidesNoOther_AndIsTakenUpWhenItIsRepaired()
    {
        (Sandbox cluster, OperatorProgram program) = await StartAsync("bearing");
        await using OperatorProgram _ = program;
        string strict = (await cluster.Api.GetAsync(Definition)).GetProperty("spec").GetProperty("versions").GetRawText();
        JsonNode versions = JsonNode.Parse(strict)!;
        versions[0]!["schema"]!["openAPIV3Schema"]!["properties"]!["spec"] = JsonNode.Parse("""{"type":"object","x-kubernetes-preserve-unknown-fields":true}""");

        // As it was written under an older definition.
        await DefineAsync(versions.ToJsonString());
        await cluster.UntilAsync("the server takes it", async () => await TriesAsync(() =>
            cluster.CreateJobAsync("bad", """{"image":"w","gpusPerNode":"two","launcher":"Wroker","activeDeadlineSeconds":99999999999,"progress":{"mode":"None"}}""")));
        Assert.Contains("the value has the wrong type", await cluster.RefusalAsync("bad"));
        await DefineAsync(strict);
        await cluster.UntilAsync("the server is strict again", async () => !await TriesAsync(() =>
            cluster.Api.PostAsync($"{cluster.Path("deepspeedjobs")}?dryRun=All", """
                {"apiVersion":"deepspeedsharp.dev/v1alpha1","kind":"DeepSpeedJob","metadata":{"name":"other"},"spec":{"image":"w","gpusPerNode":"two"}}
                """)));

        program.Kill();
        await cluster.RunJobAsync("good");
        await cluster.Kubelet.FinishAsync("good-1-0", 0);
        await cluster.Kubelet.FinishAsync("good-1-1", 0);
        await cluster.UntilPhaseAsync("good", "Complete");
        await cluster.EditAsync("bad", """{"gpusPerNode":null,"launcher":null,"activeDeadlineSeconds":null}""");
        await cluster.RunPodsAsync("bad");

        Task DefineAsync(string all) => cluster.Api.PatchAsync(Definition, $$$"""{"spec":{"versions":{{{all}}}}}""");

        static async Task<bool> TriesAsync(Func<Task> request)
        {
            try
            {
                await request();
                return true;
            }
            catch (InvalidOperationException e) when (e.Message.Contains(": 422", StringComparison.Ordinal))
            {
                return false;
            }
        }
    }

    [Fact]
    [Trait("Scenario", "66")]
    public async Task S66_OperatorIsUninstalledInTheMiddle_TheNextOneFindsItsJobsAsTheyAre()
    {
        (Sandbox cluster, OperatorProgram first) = await StartAsync("leaving");
        await using (first)
        {
            await cluster.RunJobAsync("a");
            await cluster.RunJobAsync("b");
        }

        string[] before = await cluster.NamesAsync("pods");
        await cluster.Kubelet.FinishAsync("a-1-0", 0);
        await cluster.Kubelet.FinishAsync("a-1-1", 0);
        Assert.Equal("Running", (string?)(await cluster.StatusAsync("a"))["phase"]);
        await using OperatorProgram second = await ProgramAsync("coming", cluster.Namespace);
        JsonNode status = await cluster.UntilPhaseAsync("a", "Complete");

        Assert.Equal((1, 0, 0), Sandbox.Counters(status));
        Assert.Equal((1, 0, 0), Sandbox.Counters(await cluster.StatusAsync("b")));
        Assert.Equal(before, await cluster.NamesAsync("pods"));
    }

    [Fact]
    [Trait("Scenario", "68")]
    public async Task S68_ManyJobsAtOnce_OfWhichEveryTenthFails_AllEndRight()
    {
        const int jobs = 100;
        ControlPlane plane = await server.GetAsync();
        Script[] scripts = [.. Enumerable.Range(0, jobs).Select(i => new Script(string.Create(CultureInfo.InvariantCulture, $"job-{i:000}"), Nodes: 1,
            Failures: i % 10 == 3 ? 1 : 0, Deletions: 0, MaxRestarts: 3))];
        using var stop = new CancellationTokenSource();
        var kubelet = new ScriptedKubelet(plane.Api, scripts.ToDictionary(s => s.Name));
        Task run = kubelet.RunAsync(stop.Token);
        await using OperatorProgram program = await ProgramAsync("many", Load.Namespace);
        Sandbox cluster = await server.SandboxAsync(() => program.Log);

        await Parallel.ForEachAsync(scripts, new ParallelOptions { MaxDegreeOfParallelism = 16 }, async (script, _) => await plane.Api.PostAsync(Load.Jobs, script.Job));
        IReadOnlyDictionary<string, string> ends = new Dictionary<string, string>();
        await cluster.UntilAsync("all jobs are complete", async () =>
            (ends = await Script.EndsAsync(plane.Api)).Values.All(e => e.StartsWith("Complete", StringComparison.Ordinal)));
        await stop.CancelAsync();
        await run;

        Assert.Equal(scripts.Select(s => $"{s.Name}: {s.End}"), ends.OrderBy(e => e.Key, StringComparer.Ordinal).Select(e => $"{e.Key}: {e.Value}"));
        Assert.Equal(jobs + jobs / 10, kubelet.Made);
        Assert.Empty(kubelet.Twice);
        Assert.Empty(kubelet.Errors);
    }

    private async Task<(Sandbox Cluster, OperatorProgram Program)> StartAsync(string name)
    {
        OperatorProgram? program = null;
        Sandbox cluster = await server.SandboxAsync(() => program?.Log ?? "");
        return (cluster, program = await ProgramAsync(name, cluster.Namespace));
    }

    private async Task<OperatorProgram> ProgramAsync(string name, string ns) =>
        await OperatorProgram.StartAsync(await server.GetAsync(), name, new Faults(0), new WriteLedger(), $"--namespaces {ns}");
}

using System.Globalization;
using System.Text.Json.Nodes;
using DeepSpeedSharp.Operator.Benchmarks;

namespace DeepSpeedSharp.Operator.Server.Tests.Scenarios;

/// <summary>Jobs among many others, and among bad ones.</summary>
public sealed class CrowdScenarios(OwnControlPlane server)
{
    private const string Definition = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/deepspeedjobs.deepspeedsharp.dev";

    [Fact]
    [Trait("Scenario", "64")]
    public async Task S64_MalformedJob_FailsAndHidesNoOther_AndIsTakenUpWhenItIsRepaired()
    {
        // The definition is everybody's, and a server that gets another one ends the watches of the old.
        await using var alone = new OwnControlPlane();
        (Sandbox cluster, OperatorProgram program) = await alone.StartAsync("bearing");
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
        await cluster.Kubelet.SucceedAsync("good", 1);
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
        await using OperatorProgram program = await server.ProgramAsync("many", Load.Namespace);
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
}

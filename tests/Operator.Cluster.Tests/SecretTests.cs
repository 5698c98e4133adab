using System.Text.Json.Nodes;

namespace DeepSpeedSharp.Operator.Cluster.Tests;

/// <summary>What keeps strangers out of a job, and the operator out of secrets.</summary>
public sealed class SecretTests(TestCluster cluster) : ClusterTest(cluster)
{
    [Fact]
    public async Task Rank_WithoutTheSecret_CannotJoin()
    {
        Kubectl kubectl = Story("20-secret");
        int machines = JsonNode.Parse(await kubectl.GetAsync("get", "nodes", "-o", "json"))!["items"]!.AsArray().Count;
        Assert.SkipUnless(machines == 1, "the missing rank would find a machine here");
        await using Job job = await Job.ApplyAsync(kubectl, "guarded", Job.Manifest("guarded.yaml"));
        await job.WaitAsync("rank 0 runs", async () => (await job.PodsAsync()).Any(p => (string?)p["status"]!["phase"] == "Running"), 60);
        JsonNode missing = (await job.PodsAsync()).Single(p => (string?)p["metadata"]!["name"] == "guarded-1-1");

        await ApplyAsync(kubectl, Stranger(missing, "stranger", knowsSecret: false));
        string phase = "";
        await job.WaitAsync("the stranger ends", async () => (phase = await job.PodFieldAsync("stranger", ".status.phase")) is "Failed" or "Succeeded", 120);
        ShellResult log = await kubectl.ShowAsync("logs", "stranger");
        await kubectl.ShowAsync("delete", "pod", "stranger", "--force", "--grace-period=0");

        Assert.Equal("Failed", phase);
        Assert.Contains("does not know the secret", log.All);
        Assert.Equal("Running", await job.PodFieldAsync("guarded-1-0", ".status.phase"));
        Assert.Equal(0, Job.Step(await job.StatusAsync()));

        // The same program with the secret is taken: it was the secret that was missing.
        try
        {
            await ApplyAsync(kubectl, Stranger(missing, "stranger", knowsSecret: true));
            string ip = await job.PodFieldAsync("guarded-1-0", ".status.podIP");
            await job.WaitAsync("both train", async () => await StepAsync(ip) > 0, 120);
        }
        finally
        {
            await kubectl.ShowAsync("delete", "pod", "stranger", "--force", "--grace-period=0");
        }
    }

    [Fact]
    public async Task Secret_IsOfItsAttempt_AndGoesWithTheJob()
    {
        Kubectl kubectl = Story("21-secret-rotated");
        await using Job job = await Job.ApplyAsync(kubectl, "small", Job.Manifest("small.yaml"));
        await job.WaitForStepAsync(1, 90);
        string uid = await kubectl.GetAsync("get", "dsj", "small", "-o", "jsonpath={.metadata.uid}");
        string first = await kubectl.GetAsync("get", "secret", $"small-1-{uid[..8]}", "-o", "jsonpath={.data.rendezvous}");
        Assert.Equal("440", await kubectl.GetAsync("exec", "small-1-0", "--", "stat", "-L", "-c", "%a", "/etc/deepspeed-secret/rendezvous"));

        await kubectl.ShowAsync("delete", "pod", "small-1-0", "--force", "--grace-period=0");
        await job.WaitAsync("attempt 2 trains", s => (int?)s["attempt"] == 2 && (string?)s["phase"] == "Running", 90);
        await kubectl.ShowAsync("get", "secrets", "-l", "deepspeedsharp.dev/job-name=small");

        Assert.NotEqual(first, await kubectl.GetAsync("get", "secret", $"small-2-{uid[..8]}", "-o", "jsonpath={.data.rendezvous}"));
        Assert.NotEqual(0, (await kubectl.RunAsync("get", "secret", $"small-1-{uid[..8]}")).ExitCode);
        await kubectl.ShowAsync("delete", "dsj", "small");
        await job.WaitAsync("its secret is gone", async () =>
            await kubectl.GetAsync("get", "secrets", "-l", "deepspeedsharp.dev/job-name=small", "-o", "name") == "", 60);
    }

    [Theory]
    [InlineData("get")]
    [InlineData("list")]
    [InlineData("watch")]
    [InlineData("deletecollection")]
    public async Task Operator_ReadsNoSecret(string verb)
    {
        Kubectl kubectl = Story($"22-may-not-{verb}");
        ShellResult answer = await kubectl.ShowAsync(
            "auth", "can-i", verb, "secrets", "--all-namespaces", "--as=system:serviceaccount:deepspeed-system:deepspeed-operator");

        Assert.StartsWith("no", answer.Output.Trim());
    }

    [Fact]
    public async Task FirstProcess_BuriesOrphans()
    {
        Kubectl kubectl = Story("23-orphans");
        await using Job job = await Job.ApplyAsync(kubectl, "small", Job.Manifest("small.yaml"));
        await job.WaitForPhaseAsync("Running", 60);

        // A process whose parent is gone and that ends: without an init it would stay as a zombie.
        await kubectl.GetAsync("exec", "small-1-0", "--", "sh", "-c", "sh -c 'sleep 0.2 & exit 0'");
        string states = "";
        await job.WaitAsync("no process is a zombie", async () =>
        {
            states = await kubectl.GetAsync("exec", "small-1-0", "--", "sh", "-c", "cat /proc/[0-9]*/stat 2>/dev/null || true");
            return !states.Contains("(sleep)", StringComparison.Ordinal);
        }, 20);

        Assert.Contains("1 (tini)", states);
        Assert.DoesNotContain(") Z ", states);
        Assert.NotEqual(0, (await kubectl.RunAsync("exec", "small-1-0", "--", "sh", "-c", "echo x >/workspace/file")).ExitCode);
    }

    // Rank 0 answers only when all ranks are there.
    private static async Task<long> StepAsync(string ip)
    {
        try
        {
            return (long?)(await Job.ProgressAsync(ip))["step"] ?? 0;
        }
        catch (HttpRequestException)
        {
            return 0;
        }
    }

    private static async Task ApplyAsync(Kubectl kubectl, JsonNode pod)
    {
        string file = Path.Combine(Path.GetTempPath(), $"deepspeed-pod-{Guid.NewGuid():N}.json");
        await File.WriteAllTextAsync(file, pod.ToJsonString());
        ShellResult result = await kubectl.RunAsync("apply", "-f", file);
        File.Delete(file);
        Assert.True(result.ExitCode == 0, result.All);
    }

    // The pod of the missing rank, of nobody, and free to run anywhere.
    private static JsonObject Stranger(JsonNode pod, string name, bool knowsSecret)
    {
        JsonObject spec = pod["spec"]!.DeepClone().AsObject();
        spec.Remove("affinity");
        spec.Remove("nodeName");
        if (!knowsSecret)
        {
            Remove(spec["volumes"]!, "rendezvous");
            Remove(spec["containers"]![0]!["volumeMounts"]!, "rendezvous");
            Remove(spec["containers"]![0]!["env"]!, "DEEPSPEED_SECRET_FILE");
        }

        return new JsonObject
        {
            ["apiVersion"] = "v1",
            ["kind"] = "Pod",
            ["metadata"] = new JsonObject { ["name"] = name },
            ["spec"] = spec,
        };

        static void Remove(JsonNode list, string name)
        {
            JsonNode entry = list.AsArray().Single(e => (string?)e!["name"] == name)!;
            list.AsArray().Remove(entry);
        }
    }
}

using System.Text.Json.Nodes;

namespace DeepSpeedSharp.Operator.Server.Tests.Scenarios;

/// <summary>What a job makes, how it is named, and how pods find each other.</summary>
public sealed class CreationScenarios(ScenarioServer server)
{
    [Fact]
    [Trait("Scenario", "1")]
    public async Task S1_JobIsCreated_OneServiceAndItsPodsExist()
    {
        Sandbox cluster = await server.SandboxAsync();
        await cluster.CreateJobAsync("a", """{"image":"w","numNodes":3,"gpusPerNode":2,"progress":{"mode":"None"}}""");
        await cluster.CreatedAsync("a");

        JsonNode job = (await cluster.FindAsync("deepspeedjobs", "a"))!, service = Assert.Single(await cluster.ListAsync("services"));
        Assert.Equal(("a", "None", true), ((string?)service["metadata"]!["name"], (string?)service["spec"]!["clusterIP"], (bool)service["spec"]!["publishNotReadyAddresses"]!));
        JsonNode[] pods = await cluster.ListAsync("pods");
        Assert.Equal(["a-1-0", "a-1-1", "a-1-2"], pods.Select(p => (string)p["metadata"]!["name"]!).Order());
        foreach (JsonNode item in pods.Append(service))
        {
            JsonNode owner = Assert.Single(item["metadata"]!["ownerReferences"]!.AsArray())!;
            Assert.Equal((true, (string?)job["metadata"]!["uid"]), ((bool)owner["controller"]!, (string?)owner["uid"]));
            Assert.Equal(("a", "deepspeed-worker"), ((string?)item["metadata"]!["labels"]!["deepspeedsharp.dev/job-name"], (string?)item["metadata"]!["labels"]!["app.kubernetes.io/name"]));
        }

        foreach (JsonNode pod in pods)
        {
            string rank = (string)pod["metadata"]!["labels"]!["deepspeedsharp.dev/node-rank"]!;
            Assert.Equal(("1", $"a-1-{rank}", "a"), ((string?)pod["metadata"]!["labels"]!["deepspeedsharp.dev/attempt"], (string?)pod["spec"]!["hostname"], (string?)pod["spec"]!["subdomain"]));
            Assert.Equal(("a-1-0.a", "29500", "6", "3", rank), (Sandbox.Env(pod, "MASTER_ADDR"), Sandbox.Env(pod, "MASTER_PORT"), Sandbox.Env(pod, "WORLD_SIZE"), Sandbox.Env(pod, "NNODES"), Sandbox.Env(pod, "NODE_RANK")));
            Assert.Equal("2", (string?)pod["spec"]!["containers"]![0]!["resources"]!["limits"]!["nvidia.com/gpu"]);
        }
    }

    [Fact]
    [Trait("Scenario", "5")]
    public async Task S5_PodOfAnotherOwner_IsReportedAndLeftAlone()
    {
        Sandbox cluster = await server.SandboxAsync();
        await cluster.Api.PostAsync(cluster.Path("pods"), """
            {"apiVersion":"v1","kind":"Pod","metadata":{"name":"a-1-1","labels":{"mine":"yes"}},"spec":{"containers":[{"name":"c","image":"i"}]}}
            """);
        await cluster.CreateJobAsync("a");

        JsonNode scheduled = await cluster.UntilAsync("a", "Scheduled", "NameConflict");
        Assert.Contains("a-1-1", (string?)scheduled["message"]);
        await cluster.UntilAsync("an event tells", async () => (await cluster.ListAsync("events")).Any(e => (string?)e["reason"] == "NameConflict"));
        Assert.Equal("yes", (string?)(await cluster.FindAsync("pods", "a-1-1"))!["metadata"]!["labels"]!["mine"]);

        await cluster.Kubelet.RemoveAsync("a-1-1");
        Assert.Equal((1, 0, 0), Sandbox.Counters(await cluster.RunPodsAsync("a")));
    }

    [Fact]
    [Trait("Scenario", "8")]
    public async Task S8_HostfileOfAJob_NamesAllNodesInTheOrderOfRanks()
    {
        Sandbox cluster = await server.SandboxAsync();
        await cluster.CreateJobAsync("a", """{"image":"w","numNodes":3,"gpusPerNode":4,"launcher":"DeepSpeed","progress":{"mode":"None"}}""");
        await cluster.CreatedAsync("a");

        JsonNode map = (await cluster.FindAsync("configmaps", "a-1"))!;

        Assert.Equal("a-1-0.a slots=4\na-1-1.a slots=4\na-1-2.a slots=4", ((string)map["data"]!["hostfile"]!).TrimEnd());
        Assert.True((bool)map["immutable"]!);
    }

    [Fact]
    [Trait("Scenario", "12")]
    public async Task S12_SubdomainOfOnesOwn_IsRefused()
    {
        Sandbox cluster = await server.SandboxAsync();
        await cluster.CreateJobAsync("a", """{"image":"w","template":{"spec":{"subdomain":"mine"}}}""");

        Assert.Contains("spec.template.spec.subdomain: it belongs to the job", await cluster.RefusalAsync("a"));
    }

    [Fact]
    [Trait("Scenario", "13")]
    public async Task S13_HostNetwork_KeepsTheClustersNames()
    {
        Sandbox cluster = await server.SandboxAsync();
        await cluster.CreateJobAsync("a", """{"image":"w","numNodes":2,"network":{"hostNetwork":true,"port":29600},"progress":{"mode":"None"}}""");
        await cluster.CreatedAsync("a");

        Assert.All(await cluster.ListAsync("pods"), p => Assert.Equal((true, "ClusterFirstWithHostNet", "a", "a-1-0.a", "29600"), ((bool)p["spec"]!["hostNetwork"]!,
            (string?)p["spec"]!["dnsPolicy"], (string?)p["spec"]!["subdomain"], Sandbox.Env(p, "MASTER_ADDR"), Sandbox.Env(p, "MASTER_PORT"))));
        await cluster.RunPodsAsync("a");
    }

    [Theory]
    [InlineData("{}", true, 1000)]
    [InlineData("""{"spec":{"securityContext":{"runAsNonRoot":false,"runAsUser":0}}}""", false, 0)]
    [Trait("Scenario", "14")]
    public async Task S14_ImageThatNeedsRoot_MaySaySo(string template, bool isNonRoot, int user)
    {
        Sandbox cluster = await server.SandboxAsync();
        await cluster.CreateJobAsync("a", $$"""{"image":"w","progress":{"mode":"None"},"template":{{template}} }""");
        await cluster.CreatedAsync("a");

        JsonNode context = (await cluster.FindAsync("pods", "a-1-0"))!["spec"]!["securityContext"]!;

        Assert.Equal((isNonRoot, user), ((bool)context["runAsNonRoot"]!, (int)context["runAsUser"]!));
    }
}

using System.Text.Json.Nodes;

namespace DeepSpeedSharp.Operator.Cluster.Tests;

/// <summary>What only a real API server can tell: defaults, names, pruning, generations, owners and scale. Numbers are those
/// of the table of scenarios in Operator.Tests.</summary>
public sealed class ServerScenarios(TestCluster cluster) : ClusterTest(cluster)
{
    // No machine has this label: what matters here happens before a pod runs.
    private const string Nowhere = "template: { spec: { nodeSelector: { deepspeedsharp.dev-test: nowhere } } }";

    [Fact]
    [Trait("Scenario", "2")]
    public async Task LeastJob_GetsItsDefaultsFromTheServer()
    {
        Kubectl kubectl = Story("20-defaults");
        await using Job job = await ApplyAsync(kubectl, "least", $"{{ image: none/none:1, restart: {{}}, {Nowhere} }}");

        JsonNode spec = JsonNode.Parse(await kubectl.GetAsync("get", "dsj", "least", "-o", "json"))!["spec"]!;

        Assert.Equal((1, 0, "Running", "AllNodes", 3, "Gang", 10), ((int)spec["numNodes"]!, (int)spec["gpusPerNode"]!, (string?)spec["cleanPodPolicy"],
            (string?)spec["successPolicy"], (int)spec["restart"]!["maxRestarts"]!, (string?)spec["restart"]!["policy"], (int)spec["restart"]!["backoffSeconds"]!));
        Assert.Null(spec["scheduling"]);
        await job.WaitAsync("its pod exists", s => (int?)s["createdAttempt"] == 1, 30);
    }

    [Fact]
    [Trait("Scenario", "3")]
    public async Task GenerateName_GivesChildrenTheFinalName()
    {
        Kubectl kubectl = Story("21-generate-name");
        string file = Write("generated", $$"""
            apiVersion: deepspeedsharp.dev/v1alpha1
            kind: DeepSpeedJob
            metadata: { generateName: gen- }
            spec: { image: none/none:1, numNodes: 2, {{Nowhere}} }
            """);
        string name = (await kubectl.GetAsync("create", "-f", file, "-o", "jsonpath={.metadata.name}")).Trim();
        await using var job = new Job(kubectl, name);
        await job.WaitAsync("its pods exist", s => (int?)s["createdAttempt"] == 1, 30);

        Assert.StartsWith("gen-", name);
        Assert.Equal([$"{name}-1-0", $"{name}-1-1"], (await job.PodsAsync()).Select(p => (string)p["metadata"]!["name"]!).Order());
        Assert.Equal($"{name}-1-0.{name}:29500", (string?)(await job.StatusAsync())["masterAddress"]);
        Assert.Equal($"service/{name}", await kubectl.GetAsync("get", "service", name, "-o", "name"));
    }

    [Fact]
    [Trait("Scenario", "4")]
    [Trait("Scenario", "64")]
    public async Task Name_TooLong_IsRefusedByTheServer()
    {
        Kubectl kubectl = Story("22-refused");
        ShellResult name = await kubectl.ShowAsync("apply", "--validate=false", "-f", Write("long", Manifest(new string('x', 51), "{ image: none/none:1 }")));
        ShellResult type = await kubectl.ShowAsync("apply", "--validate=false", "-f", Write("type", Manifest("malformed", "{ image: none/none:1, numNodes: two }")));
        ShellResult word = await kubectl.ShowAsync("apply", "--validate=false", "-f", Write("word", Manifest("malformed", "{ image: none/none:1, launcher: Wroker, activeDeadlineSeconds: 99999999999 }")));

        Assert.All(new[] { name, type, word }, r => Assert.NotEqual(0, r.ExitCode));
        Assert.Contains("metadata.name", name.All);
        Assert.Contains("spec.numNodes", type.All);
        Assert.Contains("spec.launcher", word.All);
        Assert.Contains("spec.activeDeadlineSeconds", word.All);
    }

    [Fact]
    [Trait("Scenario", "6")]
    public async Task Service_DeletedByHand_IsMadeAgainOnTheServer()
    {
        Kubectl kubectl = Story("23-service");
        await using Job job = await ApplyAsync(kubectl, "named", $"{{ image: none/none:1, {Nowhere} }}");
        await job.WaitAsync("its pod exists", s => (int?)s["createdAttempt"] == 1, 30);

        await kubectl.ShowAsync("delete", "service", "named");

        await job.WaitAsync("the Service is there again", async () =>
            (await kubectl.RunAsync("get", "service", "named", "-o", "jsonpath={.spec.clusterIP}")).Output.Contains("None", StringComparison.Ordinal), 30);
        Assert.Equal(1, (int)(await job.StatusAsync())["attempt"]!);
    }

    [Fact]
    [Trait("Scenario", "7")]
    public async Task ConfigMap_OfAnAttempt_CannotBeEdited()
    {
        Kubectl kubectl = Story("24-immutable");
        await using Job job = await ApplyAsync(kubectl, "fixed", $"{{ image: none/none:1, config: {{ train_batch_size: 4 }}, {Nowhere} }}");
        await job.WaitAsync("its pod exists", s => (int?)s["createdAttempt"] == 1, 30);

        ShellResult edit = await kubectl.ShowAsync("patch", "configmap", "fixed-1", "--type=merge", "-p", """{"data":{"hostfile":"elsewhere slots=1"}}""");

        Assert.NotEqual(0, edit.ExitCode);
        Assert.Contains("immutable", edit.All);
    }

    [Fact]
    [Trait("Scenario", "9")]
    public async Task Manifest_AppliedAgain_ChangesNothing()
    {
        Kubectl kubectl = Story("25-applied-again");
        string file = Write("again", Manifest("again", $$"""
            { image: none/none:1, numNodes: 2, env: [{ name: A, value: b }], resources: { limits: { cpu: "1", memory: 1Gi } },
              config: { train_batch_size: 4, not_of_the_schema: { kept: true } }, restart: { rules: [{ name: r, exitCodes: [3], action: FailJob }] }, {{Nowhere}} }
            """));
        await kubectl.GetAsync("apply", "--server-side", "--validate=false", "-f", file);
        await using var job = new Job(kubectl, "again");
        await job.WaitAsync("the operator looked at it", s => s["conditions"] is not null, 30);
        JsonNode before = await ObjectAsync();

        await kubectl.GetAsync("apply", "--server-side", "--validate=false", "-f", file);
        await kubectl.GetAsync("apply", "--server-side", "--validate=false", "-f", file);

        JsonNode after = await ObjectAsync();
        Assert.Equal(((long)before["metadata"]!["generation"]!, before["spec"]!.ToJsonString()), ((long)after["metadata"]!["generation"]!, after["spec"]!.ToJsonString()));
        Assert.Equal(1, (long)after["metadata"]!["generation"]!);

        // What is below config is kept, whatever it is; elsewhere the server drops a field that nobody knows.
        Assert.Equal("True", (string?)(await job.ConditionAsync("Failed"))!["status"]); // config has an unknown setting
        Assert.True((bool)after["spec"]!["config"]!["not_of_the_schema"]!["kept"]!);
        await kubectl.GetAsync("apply", "--validate=false", "-f", Write("pruned", Manifest("pruned", "{ image: none/none:1, suspend: true, nonsense: 1 }")));
        await using var pruned = new Job(kubectl, "pruned");
        Assert.Empty(await kubectl.GetAsync("get", "dsj", "pruned", "-o", "jsonpath={.spec.nonsense}"));

        async Task<JsonNode> ObjectAsync() => JsonNode.Parse(await kubectl.GetAsync("get", "dsj", "again", "-o", "json"))!;
    }

    [Fact]
    [Trait("Scenario", "18")]
    public async Task Command_ThatDoesNotExist_FailsTheJobAndSaysSo()
    {
        Kubectl kubectl = Story("26-malformed-command");
        string image = await kubectl.GetAsync("-n", "deepspeed-system", "get", "pods", "-o", "jsonpath={.items[0].spec.containers[0].image}");
        await using Job job = await ApplyAsync(kubectl, "mistyped",
            $"{{ image: {image}, command: [/no/such/program], restart: {{ maxRestarts: 0 }}, progress: {{ mode: None }} }}");

        await job.WaitForPhaseAsync("Failed", 60);

        JsonNode failed = (await job.ConditionAsync("Failed"))!;
        await kubectl.ShowAsync("describe", "dsj", "mistyped");
        Assert.Equal("MaxRestartsExceeded", (string?)failed["reason"]);
        Assert.Contains("/no/such/program", (string?)failed["message"]);
    }

    [Fact]
    [Trait("Scenario", "49")]
    public async Task Claim_ToDelete_GoesWithItsJob()
    {
        Kubectl kubectl = Story("27-claim");
        await using Job job = await ApplyAsync(kubectl, "tidy", $$"""
            { image: none/none:1, checkpoint: { retain: Delete, volumeClaimTemplate: { metadata: { labels: { tier: fast } },
              spec: { accessModes: [ReadWriteMany], storageClassName: none, resources: { requests: { storage: 1Gi } } } } }, {{Nowhere}} }
            """);
        await job.WaitAsync("its pod exists", s => (int?)s["createdAttempt"] == 1, 30);
        Assert.Equal("fast", await kubectl.GetAsync("get", "pvc", "tidy-checkpoints", "-o", "jsonpath={.metadata.labels.tier}"));

        await kubectl.ShowAsync("delete", "dsj", "tidy");

        await job.WaitAsync("the claim is gone", async () => await kubectl.GetAsync("get", "pvc", "-l", "deepspeedsharp.dev/job-name=tidy", "-o", "name") == "", 60);
    }

    [Fact]
    [Trait("Scenario", "55")]
    public async Task Scale_OfAnElasticJob_ChangesItsSize()
    {
        Kubectl kubectl = Story("28-scale");
        await using Job job = await ApplyAsync(kubectl, "springy", $"{{ image: none/none:1, numNodes: 2, elastic: {{ minNodes: 1, maxNodes: 4 }}, {Nowhere} }}");
        await job.WaitAsync("two pods exist", s => (int?)s["replicas"] == 2, 30);

        ShellResult scaled = await kubectl.ShowAsync("scale", "dsj", "springy", "--replicas=3");
        Assert.True(scaled.ExitCode == 0, scaled.All);
        await job.WaitAsync("three pods exist", s => (int?)s["replicas"] == 3 && (int?)s["worldSize"] == 3, 30);
        ShellResult tooFar = await kubectl.ShowAsync("scale", "dsj", "springy", "--replicas=5");

        // The server does not know the limits of elastic; the job says what is wrong.
        Assert.Equal(0, tooFar.ExitCode);
        await job.WaitAsync("it says what is wrong", async () => (await job.StatusAsync()).ToJsonString().Contains("5 is not between elastic.minNodes and elastic.maxNodes", StringComparison.Ordinal), 30);
        string selector = (string)(await job.StatusAsync())["selector"]!;
        Assert.Equal("deepspeedsharp.dev/job-name=springy", selector);
    }

    private static async Task<Job> ApplyAsync(Kubectl kubectl, string name, string spec) =>
        await Job.ApplyAsync(kubectl, name, Write(name, Manifest(name, spec)));

    private static string Manifest(string name, string spec) => $$"""
        apiVersion: deepspeedsharp.dev/v1alpha1
        kind: DeepSpeedJob
        metadata: { name: {{name}} }
        spec: {{spec}}
        """;

    private static string Write(string name, string manifest)
    {
        string folder = RepositoryFiles.Of("artifacts", "cluster-transcript");
        Directory.CreateDirectory(folder);
        string file = Path.Combine(folder, $"{name}.yaml");
        File.WriteAllText(file, manifest);
        return file;
    }
}

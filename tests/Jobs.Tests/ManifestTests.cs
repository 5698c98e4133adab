using DeepSpeedSharp.Config;

namespace DeepSpeedSharp.Jobs.Tests;

public sealed class ManifestTests
{
    private const string Head = "apiVersion: deepspeedsharp.dev/v1alpha1\nkind: DeepSpeedJob\nmetadata: { name: tiny }\n";

    [Fact]
    public void Parse_EveryField_IsRead()
    {
        DeepSpeedJobManifest manifest = DeepSpeedJobManifest.Parse("""
            apiVersion: deepspeedsharp.dev/v1alpha1
            kind: DeepSpeedJob
            metadata: { name: tiny, namespace: research, labels: { team: a } }
            spec:
              image: registry.example/trainer:1.0
              command: [/app/worker]
              args: [train, "--n=1"]
              env: [{ name: NCCL_DEBUG, value: WARN }, { name: NODE, valueFrom: { fieldRef: { fieldPath: spec.nodeName } } }]
              numNodes: 4
              gpusPerNode: 8
              resources: { limits: { cpu: "96", memory: 1600Gi }, requests: { cpu: 0.5 } }
              config: { train_micro_batch_size_per_gpu: 1, zero_optimization: { reduce_bucket_size: 5e7 } }
              checkpoint: { claimName: disk, mountPath: /ckpt, subPath: a/b, gracePeriodSeconds: 300 }
              restart: { maxRestarts: 5 }
              suspend: true
              metrics: { port: 9500, path: /m, podAnnotations: false }
            """);

        DeepSpeedJobSpec spec = manifest.Spec;
        Assert.Equal(("tiny", "research"), (manifest.Name, manifest.Namespace));
        Assert.Equal((4, 8, 32, 5, true), (spec.Nodes(), spec.Slots(), spec.WorldSize(), spec.MaxRestarts(), spec.IsSuspended()));
        Assert.Equal((9500, "/m", 300), (spec.MetricsPort(), spec.MetricsPath(), spec.GracePeriodSeconds()));
        Assert.Equal(["/app/worker"], spec.Command!);
        Assert.Equal("WARN", spec.Env![0].Value);
        Assert.NotNull(spec.Env[1].ValueFrom);
        Assert.Equal("0.5", spec.Resources!.Requests!["cpu"].Text);
        Assert.Equal("1600Gi", spec.Resources.Limits!["memory"].Text);
        Assert.Equal(("disk", "a/b"), (spec.Checkpoint!.ClaimFor("tiny"), spec.Checkpoint!.SubPathFor("tiny")));
    }

    [Fact]
    public void Parse_LeastSpec_HasDefaults()
    {
        DeepSpeedJobSpec spec = DeepSpeedJobManifest.Parse(Head + "spec: { checkpoint: { volumeClaimTemplate: { spec: {} } } }").Spec;

        Assert.Equal((1, 0, 1, 1), (spec.Nodes(), spec.Gpus(), spec.Slots(), spec.WorldSize()));
        Assert.Equal((3, 9400, "/metrics", 120, false),
            (spec.MaxRestarts(), spec.MetricsPort(), spec.MetricsPath(), spec.GracePeriodSeconds(), spec.IsSuspended()));
        Assert.Equal(("tiny-checkpoints", "tiny"), (spec.Checkpoint!.ClaimFor("tiny"), spec.Checkpoint!.SubPathFor("tiny")));
    }

    [Fact]
    public void Parse_Json_IsYamlToo()
    {
        DeepSpeedJobManifest manifest = DeepSpeedJobManifest.Parse(
            """{"apiVersion":"deepspeedsharp.dev/v1alpha1","kind":"DeepSpeedJob","metadata":{"name":"a"},"spec":{"numNodes":2}}""");

        Assert.Equal(2, manifest.Spec.Nodes());
    }

    // What a scalar means decides what the config of the job says.
    [Theory]
    [InlineData("5e8", "500000000")]
    [InlineData("1e-3", "0.001")]
    [InlineData("42", "42")]
    [InlineData("-7", "-7")]
    [InlineData("0.5", "0.5")]
    [InlineData("true", "true")]
    [InlineData("False", "false")]
    [InlineData("null", "null")]
    [InlineData("~", "null")]
    [InlineData("", "null")]
    [InlineData("AdamW", "\"AdamW\"")]
    [InlineData("\"42\"", "\"42\"")]
    [InlineData("'true'", "\"true\"")]
    [InlineData("!!str 42", "\"42\"")]
    [InlineData("1.2.3", "\"1.2.3\"")]
    [InlineData("[1, a, 0.1]", "[1,\"a\",0.1]")]
    [InlineData("{ lr: 1e-4 }", "{\"lr\":0.0001}")]
    public void Parse_Scalar_HasTheTypeOfYamlsCoreSchema(string yaml, string json)
    {
        var errors = new ConfigErrors();

        string? read = YamlJson.Read($"value: {yaml}\n", errors)?.ToJsonString();

        Assert.Empty(errors.All);
        Assert.Equal($$"""{"value":{{json}}}""", read);
    }

    [Fact]
    public void Parse_Anchor_IsFollowed()
    {
        var errors = new ConfigErrors();

        Assert.Equal("""{"a":{"lr":1},"b":{"lr":1}}""", YamlJson.Read("a: &x { lr: 1 }\nb: *x\n", errors)?.ToJsonString());
    }

    [Theory]
    [InlineData("a: [1\n", "line 2")]
    [InlineData("a: 1\na: 2\n", "line 2")]
    [InlineData("a: 1\n---\na: 2\n", "the file has 2 documents")]
    [InlineData("", "the file has 0 documents")]
    [InlineData("- a\n", "the document is not a mapping")]
    public void Parse_BrokenYaml_SaysWhere(string yaml, string expected)
    {
        ConfigException error = Assert.Throws<ConfigException>(() => DeepSpeedJobManifest.Parse(yaml, "job.yaml"));

        Assert.Contains("job.yaml has a problem:", error.Message, StringComparison.Ordinal);
        Assert.Contains(expected, error.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("spec: { numNodes: two }", "spec.numNodes")]
    [InlineData("spec: { numNodes: \"2\" }", "spec.numNodes")]
    [InlineData("spec: { env: [{ name: A, value: 5 }] }", "spec.env[0].value")]
    [InlineData("spec: { args: train }", "spec.args")]
    [InlineData("spec: { resources: { limits: { cpu: [1] } } }", "spec.resources.limits.cpu")]
    public void Parse_WrongType_NamesThePath(string spec, string path)
    {
        ConfigException error = Assert.Throws<ConfigException>(() => DeepSpeedJobManifest.Parse(Head + spec));

        Assert.Equal(path, Assert.Single(error.Errors).Path);
    }

    [Fact]
    public void Parse_WrongKindAndName_ReportsAllAtOnce()
    {
        ConfigException error = Assert.Throws<ConfigException>(() => DeepSpeedJobManifest.Parse(
            "apiVersion: v1\nkind: Job\nmetadata: { name: Bad_Name }\nspek: {}\nspec: { numNodes: 0 }\n"));

        Assert.Equal(["apiVersion", "kind", "spek", "metadata.name", "spec.numNodes"], error.Errors.Select(e => e.Path));
        Assert.Contains("write apiVersion: deepspeedsharp.dev/v1alpha1", error.Message, StringComparison.Ordinal);
        Assert.Contains("did you mean \"spec\"?", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Load_MissingFile_IsAConfigException()
    {
        ConfigException error = Assert.Throws<ConfigException>(() => DeepSpeedJobManifest.Load("/nowhere/job.yaml"));

        Assert.Contains("the file cannot be read", error.Message, StringComparison.Ordinal);
    }
}

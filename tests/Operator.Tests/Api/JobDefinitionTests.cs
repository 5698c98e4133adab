using System.Text.Json;
using System.Text.Json.Nodes;
using DeepSpeedSharp.Jobs;
using DeepSpeedSharp.Operator.Api.Schema;
using DeepSpeedSharp.Operator.Planning;

namespace DeepSpeedSharp.Operator.Tests.Api;

public sealed class JobDefinitionTests
{
    private static readonly JsonObject Schema = JobDefinition.Build()["spec"]!["versions"]![0]!["schema"]!["openAPIV3Schema"]!.AsObject();

    [Fact]
    public void FileInTheRepository_IsUpToDate()
    {
        string file = RepositoryFiles.Path("deploy", "crds", "deepspeedjobs.yaml");

        Assert.True(File.ReadAllText(file) == JobDefinition.Yaml(),
            "deploy/crds/deepspeedjobs.yaml differs from the types; run: "
            + "dotnet run --project src/Operator -- generate crd --output deploy/crds/deepspeedjobs.yaml");
    }

    [Fact]
    public void File_IsSmallEnoughForKubectlApply() => Assert.InRange(JobDefinition.Build().ToJsonString().Length, 1000, 250_000);

    [Fact]
    public void PlannedField_IsKeptByTheServer()
    {
        JsonNode claims = Schema["properties"]!["spec"]!["properties"]!["resources"]!["properties"]!["claims"]!;

        Assert.True((bool)claims["x-kubernetes-preserve-unknown-fields"]!);
        Assert.Equal("Not supported yet: refused by the operator.", (string?)claims["description"]);
    }

    [Fact]
    public void Defaults_OfTheSchema_AreThoseOfTheCode()
    {
        var written = new DeepSpeedJobSpec();
        JsonObject json = JsonNode.Parse("{}")!.AsObject();
        Fill(Schema["properties"]!["spec"]!.AsObject(), json);
        DeepSpeedJobSpec filled = json.Deserialize<DeepSpeedJobSpec>(DeepSpeedJobManifest.Json)!;

        Assert.Equal(Values(written), Values(filled));
        Assert.Equal(SpecHash.Of(written), SpecHash.Of(filled));

        static object[] Values(DeepSpeedJobSpec spec) =>
        [
            spec.Nodes(), spec.Gpus(), spec.MaxRestarts(), spec.NeverRestarts(), spec.WaitsForOldPods(), spec.Backoff(), spec.BackoffMax(),
            spec.ResetAfter(), spec.NodeLoss(), spec.IsSuspended(), spec.Rank0Decides(), spec.FailedPodsToKeep(), spec.Port(),
            spec.PullsProgress(), spec.Mode(),
        ];

        // What a server does: only below objects that are there. All parents are there here, but for those that change a job.
        static void Fill(JsonObject schema, JsonObject target)
        {
            foreach ((string name, JsonNode? property) in schema["properties"]!.AsObject())
            {
                if (property!["default"] is { } value)
                {
                    target[name] = value.DeepClone();
                }
                else if (property["properties"] is not null && name is "restart" or "scheduling" or "network" or "shm" or "progress")
                {
                    var child = new JsonObject();
                    target[name] = child;
                    Fill(property.AsObject(), child);
                }
            }
        }
    }

    [Fact]
    public void Rules_OverSeveralFields_AreInTheSchema()
    {
        JsonNode spec = Schema["properties"]!["spec"]!;

        Assert.Contains(spec["x-kubernetes-validations"]!.AsArray(), r => (string?)r!["message"] == "managedBy cannot be changed");
        Assert.Equal("give exactly one of claimName and volumeClaimTemplate",
            (string?)spec["properties"]!["checkpoint"]!["x-kubernetes-validations"]![0]!["message"]);
        Assert.Equal(".spec.numNodes",
            (string?)JobDefinition.Build()["spec"]!["versions"]![0]!["subresources"]!["scale"]!["specReplicasPath"]);
    }

    [Theory]
    [InlineData("", true)]
    [InlineData("deepspeedsharp.dev/controller", true)]
    [InlineData("kueue.x-k8s.io/multikueue", true)]
    [InlineData("somebody", false)]
    [InlineData("somebody/else", false)]
    [InlineData("a.b/", false)]
    [InlineData("a.b/c/d", false)]
    public void Manager_IsADomainAndAPath_ForTheServerAsInCode(string manager, bool isValid)
    {
        var errors = new Config.ConfigErrors();
        DeepSpeedSharp.Jobs.JobValidation.Check(Planning.Some.Spec() with { ManagedBy = manager }, errors);

        Assert.Equal(isValid ? [] : ["spec.managedBy"], errors.All.Select(e => e.Path));
        Assert.Equal(isValid, System.Text.RegularExpressions.Regex.IsMatch(manager, (string)Schema["properties"]!["spec"]!["properties"]!["managedBy"]!["pattern"]!));
    }

    [Fact]
    public void Spec_IsExplained()
    {
        JsonNode spec = Schema["properties"]!["spec"]!;

        Assert.Null(spec["x-kubernetes-preserve-unknown-fields"]);
        Assert.All(spec["properties"]!.AsObject(), p => Assert.NotNull(p.Value!["description"]));
        Assert.Equal(10_000L, (long)spec["properties"]!["numNodes"]!["maximum"]!);
        Assert.Equal("name", (string?)spec["properties"]!["env"]!["x-kubernetes-list-map-keys"]![0]);
        Assert.True((bool)spec["properties"]!["config"]!["x-kubernetes-preserve-unknown-fields"]!);
    }

    [Fact]
    public void Schema_IsStructural()
    {
        Check(Schema, "$");

        // Kubernetes' rules for structural schemas, and ours: typed, lists with a list type, texts for kubectl explain.
        static void Check(JsonObject schema, string path)
        {
            bool isFree = schema["x-kubernetes-preserve-unknown-fields"] is not null || schema["x-kubernetes-int-or-string"] is not null;
            Assert.True(isFree || schema["type"] is not null, $"{path} has no type");
            Assert.True(path == "$" || path.StartsWith("$.metadata", StringComparison.Ordinal) || path.EndsWith(".items", StringComparison.Ordinal)
                || path is "$.apiVersion" or "$.kind" || path.EndsWith(".additionalProperties", StringComparison.Ordinal)
                || schema["description"] is not null, $"{path} has no description");
            Assert.False((string?)schema["type"] == "array" && !schema.ContainsKey("x-kubernetes-list-type"), $"{path} has no list type");
            foreach ((string name, JsonNode? property) in schema["properties"] as JsonObject ?? [])
            {
                Check(property!.AsObject(), $"{path}.{name}");
            }

            foreach (string part in new[] { "items", "additionalProperties" })
            {
                if (schema[part] is JsonObject child)
                {
                    Check(child, $"{path}.{part}");
                }
            }
        }
    }

    [Fact]
    public void YamlText_StringsThatLookLikeOtherThings_AreQuoted()
    {
        var json = new JsonObject
        {
            ["a"] = new JsonArray("yes", "1e3", "plain text", "a: b", "", "#", "x\"y", "null"),
            ["b"] = new JsonObject(),
            ["c"] = new JsonArray(new JsonObject { ["d"] = 1, ["e"] = new JsonArray(true) }),
            ["on"] = "/a/b",
        };

        Assert.Equal("""
            a:
            - "yes"
            - "1e3"
            - plain text
            - "a: b"
            - ""
            - "#"
            - "x\"y"
            - "null"
            b: {}
            c:
            - d: 1
              e:
              - true
            "on": /a/b

            """, YamlText.Write(json));
    }
}

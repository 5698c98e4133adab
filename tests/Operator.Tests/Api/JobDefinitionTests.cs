using System.Text.Json.Nodes;
using DeepSpeedSharp.Operator.Api.Schema;

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
        JsonNode elastic = Schema["properties"]!["spec"]!["properties"]!["elastic"]!;

        Assert.True((bool)elastic["x-kubernetes-preserve-unknown-fields"]!);
        Assert.Equal("Not supported yet: refused by the operator.", (string?)elastic["description"]);
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

        // Kubernetes' rules for structural schemas, and ours: typed, lists with a list type, no CEL, no defaults.
        static void Check(JsonObject schema, string path)
        {
            bool isFree = schema["x-kubernetes-preserve-unknown-fields"] is not null || schema["x-kubernetes-int-or-string"] is not null;
            Assert.True(isFree || schema["type"] is not null, $"{path} has no type");
            Assert.False(schema.ContainsKey("x-kubernetes-validations") || schema.ContainsKey("default"), path);
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

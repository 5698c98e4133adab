using System.Text.Json;
using System.Text.Json.Nodes;
using DeepSpeedSharp.Operator.Api.Schema;
using DeepSpeedSharp.Operator.Tests.FakeCluster;
using Microsoft.AspNetCore.Http;

namespace DeepSpeedSharp.Operator.Tests.Api;

/// <summary>An operator does nothing with a definition that would lose what it writes.</summary>
public sealed class ServedSchemaTests
{
    [Fact]
    public void OwnDefinition_LacksNothing() => Assert.Null(Problem(JobDefinition.Build()));

    [Fact]
    public void LaterDefinition_LacksNothing()
    {
        JsonObject definition = JobDefinition.Build();
        Properties(definition)["spec"]!["properties"]!["fieldOfTomorrow"] = new JsonObject { ["type"] = "string" };

        Assert.Null(Problem(definition));
    }

    [Fact]
    public void EarlierDefinition_IsNamedWithWhatItLacks()
    {
        JsonObject definition = JobDefinition.Build();
        definition["metadata"]!["annotations"]![ServedSchema.VersionAnnotation] = "0.0.9";
        Properties(definition)["spec"]!["properties"]!["restart"]!["properties"]!.AsObject().Remove("rules");
        Properties(definition)["status"]!["properties"]!.AsObject().Remove("createdAttempt");

        string problem = Problem(definition)!;

        Assert.Contains("is of release 0.0.9 and lacks spec.restart.rules, status.createdAttempt, which this operator", problem);
        Assert.Contains("apply deploy/crds/deepspeedjobs.yaml", problem);
    }

    [Fact]
    public void DefinitionWithoutOurVersion_IsSaid()
    {
        JsonObject definition = JobDefinition.Build();
        definition["spec"]!["versions"]![0]!["name"] = "v9";

        Assert.StartsWith("the cluster does not serve v1alpha1", Problem(definition));
    }

    [Fact]
    public async Task Operator_WaitsForItsDefinition_AndGoesOnWithoutARestart()
    {
        JsonObject? served = null;
        await using FakeOperator cluster = await FakeOperator.StartAsync(before: api => api.Intercept = async context =>
        {
            if (!context.Request.Path.Value!.Contains("customresourcedefinitions", StringComparison.Ordinal))
            {
                return false;
            }

            context.Response.StatusCode = served is null ? 404 : 200;
            await context.Response.WriteAsync(served?.ToJsonString() ?? """{"kind":"Status","reason":"NotFound","message":"not found","code":404}""");
            return true;
        });
        cluster.Apply("a");
        await cluster.Until(() => cluster.Waits?.Contains("is not installed", StringComparison.Ordinal) == true, "the operator says that there is none");

        JsonObject old = JobDefinition.Build();
        Properties(old)["status"]!["properties"]!.AsObject().Remove("attempt");
        served = old;
        await cluster.Until(() => cluster.Waits?.Contains("lacks status.attempt", StringComparison.Ordinal) == true, "the operator says what is missing");
        await cluster.Settle();
        Assert.Equal(0, cluster.Api.Writes);

        served = JobDefinition.Build();
        await cluster.Until(() => cluster.PodExists("a-1-1"), "pods exist");
        Assert.Null(cluster.Waits);
    }

    [Fact]
    public async Task Operator_ThatMayNotLook_GoesOn()
    {
        await using FakeOperator cluster = await FakeOperator.StartAsync(before: api => api.Intercept = async context =>
        {
            bool refuse = context.Request.Path.Value!.Contains("customresourcedefinitions", StringComparison.Ordinal);
            if (refuse)
            {
                context.Response.StatusCode = 403;
                await context.Response.WriteAsync("""{"kind":"Status","reason":"Forbidden","message":"may not","code":403}""");
            }

            return refuse;
        });
        cluster.Apply("a");

        await cluster.Until(() => cluster.PodExists("a-1-1"), "pods exist");
    }

    private static JsonObject Properties(JsonObject definition) =>
        definition["spec"]!["versions"]![0]!["schema"]!["openAPIV3Schema"]!["properties"]!.AsObject();

    private static string? Problem(JsonObject definition)
    {
        using var document = JsonDocument.Parse(definition.ToJsonString());
        return ServedSchema.Problem(document.RootElement);
    }
}

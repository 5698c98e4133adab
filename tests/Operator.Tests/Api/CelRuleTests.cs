using System.Text.Json;
using System.Text.Json.Nodes;
using Cel;
using DeepSpeedSharp.Operator.Api.Schema;

namespace DeepSpeedSharp.Operator.Tests.Api;

/// <summary>The rules that API servers from 1.25 on apply by themselves, in their language: each must hold and fail where it should.</summary>
public sealed class CelRuleTests
{
    private static readonly CelEnvironment Language = new([], null);

    [Theory]
    [InlineData("give at most one of config and configRef", """{"config":{"train_batch_size":8}}""", true)]
    [InlineData("give at most one of config and configRef", """{"configRef":{"name":"c"}}""", true)]
    [InlineData("give at most one of config and configRef", "{}", true)]
    [InlineData("give at most one of config and configRef", """{"config":{"train_batch_size":8},"configRef":{"name":"c"}}""", false)]
    [InlineData("elastic.minNodes must not be greater than elastic.maxNodes", "{}", true)]
    [InlineData("elastic.minNodes must not be greater than elastic.maxNodes", """{"elastic":{"minNodes":2,"maxNodes":2}}""", true)]
    [InlineData("elastic.minNodes must not be greater than elastic.maxNodes", """{"elastic":{"minNodes":3,"maxNodes":2}}""", false)]
    [InlineData("give exactly one of claimName and volumeClaimTemplate", """{"claimName":"a"}""", true)]
    [InlineData("give exactly one of claimName and volumeClaimTemplate", """{"volumeClaimTemplate":{"spec":{"accessModes":["ReadWriteMany"]}}}""", true)]
    [InlineData("give exactly one of claimName and volumeClaimTemplate", "{}", false)]
    [InlineData("give exactly one of claimName and volumeClaimTemplate", """{"claimName":"a","volumeClaimTemplate":{"spec":{"accessModes":["ReadWriteMany"]}}}""", false)]
    [InlineData("give exactly one of required and preferred", """{"required":"rack"}""", true)]
    [InlineData("give exactly one of required and preferred", "{}", false)]
    [InlineData("give exactly one of required and preferred", """{"required":"rack","preferred":"zone"}""", false)]
    [InlineData("give exitCodes, reasons or messagePattern", """{"action":"FailJob","reasons":["OOMKilled"]}""", true)]
    [InlineData("give exitCodes, reasons or messagePattern", """{"action":"FailJob"}""", false)]
    public void Rule_OfOneObject_HoldsWhereItShould(string message, string self, bool holds) => Assert.Equal(holds, Holds(message, self, null));

    [Theory]
    [InlineData("managedBy cannot be changed", "{}", "{}", true)]
    [InlineData("managedBy cannot be changed", """{"managedBy":"a.b/c"}""", """{"managedBy":"a.b/c"}""", true)]
    [InlineData("managedBy cannot be changed", """{"managedBy":"a.b/c"}""", "{}", false)]
    [InlineData("managedBy cannot be changed", "{}", """{"managedBy":"a.b/c"}""", false)]
    [InlineData("managedBy cannot be changed", """{"managedBy":"a.b/c"}""", """{"managedBy":"a.b/d"}""", false)]
    [InlineData("scheduling.gang can be changed only while the job is suspended", "{}", """{"scheduling":{"gang":"Volcano"}}""", false)]
    [InlineData("scheduling.gang can be changed only while the job is suspended", """{"suspend":true}""", """{"scheduling":{"gang":"Volcano"}}""", true)]
    [InlineData("scheduling.gang can be changed only while the job is suspended", """{"suspend":false,"scheduling":{}}""", """{"suspend":true,"scheduling":{"gang":"Kueue"}}""", true)]
    [InlineData("scheduling.gang can be changed only while the job is suspended", """{"scheduling":{"gang":"Kueue"}}""", """{"suspend":false,"scheduling":{"gang":"Kueue"}}""", true)]
    [InlineData("scheduling.queue can be changed only while the job is suspended", """{"scheduling":{"queue":"b"}}""", """{"scheduling":{"queue":"a"}}""", false)]
    [InlineData("scheduling.queue can be changed only while the job is suspended", """{"scheduling":{"queue":"a","gang":"Kueue"}}""", """{"scheduling":{"queue":"a"}}""", true)]
    [InlineData("scheduling.queue can be changed only while the job is suspended", """{"suspend":true,"scheduling":{"queue":"b"}}""", """{"scheduling":{"queue":"a"}}""", true)]
    public void Rule_OfAnEdit_HoldsWhereItShould(string message, string self, string before, bool holds) => Assert.Equal(holds, Holds(message, self, before));

    [Fact]
    public void EveryRule_IsTestedInBothDirections()
    {
        var cases = typeof(CelRuleTests).GetMethods().SelectMany(m => m.GetCustomAttributes(typeof(InlineDataAttribute), false))
            .Select(d => ((InlineDataAttribute)d).Data).Select(d => ((string)d[0]!, (bool)d[^1]!)).ToHashSet();

        Assert.All(Rules().Select(r => r.Message), message =>
        {
            Assert.Contains((message, true), cases);
            Assert.Contains((message, false), cases);
        });
    }

    private static bool Holds(string message, string self, string? before)
    {
        string rule = Assert.Single(Rules(), r => r.Message == message).Expression;
        Assert.Equal(before is not null, rule.Contains("oldSelf", StringComparison.Ordinal));
        var variables = new Dictionary<string, object?> { ["self"] = Value(JsonDocument.Parse(self).RootElement) };
        if (before is not null)
        {
            variables["oldSelf"] = Value(JsonDocument.Parse(before).RootElement);
        }

        return Assert.IsType<bool>(Language.Compile(rule)(variables));
    }

    private static List<(string Expression, string Message)> Rules()
    {
        List<(string, string)> rules = [];
        Collect(JobDefinition.Build());
        return [.. rules.Distinct()];

        void Collect(JsonNode? node)
        {
            foreach (JsonNode? rule in node is JsonObject schema && schema["x-kubernetes-validations"] is JsonArray found ? found : [])
            {
                rules.Add(((string)rule!["rule"]!, (string)rule["message"]!));
            }

            foreach (JsonNode? part in node is JsonObject o ? o.Select(p => p.Value) : node as JsonArray ?? [])
            {
                Collect(part);
            }
        }
    }

    private static object? Value(JsonElement json) => json.ValueKind switch
    {
        JsonValueKind.Object => json.EnumerateObject().ToDictionary(p => p.Name, p => Value(p.Value)),
        JsonValueKind.Array => json.EnumerateArray().Select(Value).ToArray(),
        JsonValueKind.String => json.GetString(),
        JsonValueKind.Number => json.GetInt64(),
        _ => json.GetBoolean(),
    };
}

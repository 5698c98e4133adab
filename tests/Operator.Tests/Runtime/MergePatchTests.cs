using System.Text.Json.Nodes;
using DeepSpeedSharp.Operator.Runtime;

namespace DeepSpeedSharp.Operator.Tests.Runtime;

public sealed class MergePatchTests
{
    [Theory]
    [InlineData("""{"a":1,"b":[1]}""", """{"b":[1],"a":1}""", null)]
    [InlineData("""{"a":1}""", """{"a":2}""", """{"a":2}""")]
    [InlineData("""{"a":1,"b":2}""", """{"a":1}""", """{"b":null}""")]
    [InlineData("""{"a":{"x":1,"y":2}}""", """{"a":{"x":1,"y":3}}""", """{"a":{"y":3}}""")]
    [InlineData("""{"a":[1,2]}""", """{"a":[1,3]}""", """{"a":[1,3]}""")]
    [InlineData("""{}""", """{"a":{"x":1}}""", """{"a":{"x":1}}""")]
    [InlineData("""{"a":{"x":1}}""", """{"a":5}""", """{"a":5}""")]
    public void Between_TwoObjects_IsTheSmallestPatch(string before, string after, string? patch) =>
        Assert.Equal(patch, MergePatch.Between(JsonNode.Parse(before)!.AsObject(), JsonNode.Parse(after)!.AsObject())?.ToJsonString());
}

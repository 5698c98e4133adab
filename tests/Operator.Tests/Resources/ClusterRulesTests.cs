using DeepSpeedSharp.Jobs;
using DeepSpeedSharp.Operator.Planning;
using DeepSpeedSharp.Operator.Tests.Planning;

namespace DeepSpeedSharp.Operator.Tests.Resources;

public sealed class ClusterRulesTests
{
    [Fact]
    public void ValidSpec_HasNoProblems() => Assert.Empty(ClusterRules.Check("a", Some.Spec()));

    [Fact]
    public void Everything_Wrong_IsReportedTogether()
    {
        var spec = new DeepSpeedJobSpec
        {
            NumNodes = 0,
            GpusPerNode = 2,
            Resources = new ResourceRequirements
            {
                Limits = new Dictionary<string, Quantity> { ["cpu"] = new("lots"), ["nvidia.com/gpu"] = new("4") },
            },
            Env = [new EnvVar { Name = "RANK", Value = "0" }],
        };

        Assert.Equal(
        [
            "metadata.name: \"1a\" cannot be part of a host name; use at most 50 lower-case letters, digits and '-', beginning with a letter",
            "spec.image: it is missing; name the image of the worker",
            "spec.numNodes: 0 is out of range; use a value from 1 to 10000",
            "spec.env[0].name: RANK is set by the job itself; remove it",
            "spec.resources.limits.cpu: \"lots\" is not an amount; write for example \"500m\", 8 or 64Gi",
            "spec.resources.limits.nvidia.com/gpu: 4 is not gpusPerNode, which is 2; remove it and set gpusPerNode",
        ], ClusterRules.Check("1a", spec).Select(e => e.ToString()));
    }

    [Fact]
    public void ValueFrom_OfAnotherShape_IsAProblem()
    {
        DeepSpeedJobSpec spec = Some.Spec() with
        {
            Env = [new EnvVar { Name = "X", ValueFrom = new() { ["fieldRef"] = "metadata.name" } }],
        };

        Assert.Equal("spec.env[0].valueFrom", Assert.Single(ClusterRules.Check("a", spec)).Path);
    }
}

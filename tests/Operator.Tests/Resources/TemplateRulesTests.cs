using System.Text.Json.Nodes;
using DeepSpeedSharp.Jobs;
using DeepSpeedSharp.Operator.Planning;
using DeepSpeedSharp.Operator.Tests.Planning;

namespace DeepSpeedSharp.Operator.Tests.Resources;

public sealed class TemplateRulesTests
{
    [Theory]
    [InlineData("""{"spec":{"tolerationz":[]}}""", "spec.template.spec.tolerationz: there is no such field; did you mean \"tolerations\"?")]
    [InlineData("""{"spec":{"containers":[{"name":"trainer","image":"x","resources":{"limit":{}}}]}}""", "spec.template.spec.containers[0].resources.limit")]
    [InlineData("""{"spec":{"containers":[{"name":"trainer","image":"x"}]}}""", "spec.template.spec.containers[trainer].image: spec.image is given too")]
    [InlineData("""{"spec":{"priority":"high"}}""", "spec.template: a value has the wrong type")]
    [InlineData("""{"metadata":{"name":"mine"}}""", "spec.template.metadata.name: it belongs to the job")]
    [InlineData("""{"metadata":{"labels":{"deepspeedsharp.dev/attempt":"9"}}}""", "deepspeedsharp.dev/attempt belongs to the job")]
    [InlineData("""{"spec":{"restartPolicy":"Always"}}""", "spec.template.spec.restartPolicy: it belongs to the job; remove it: use restart.policy")]
    [InlineData("""{"spec":{"containers":[{"name":"trainer","env":[{"name":"RANK","value":"7"}]}]}}""", "RANK is set by the job itself")]
    [InlineData("""{"spec":{"containers":[{"name":"trainer","resources":{"limits":{"nvidia.com/gpu":3}}}]}}""", "nvidia.com/gpu is 3 there, and gpusPerNode 0")]
    [InlineData("""{"spec":{"volumes":[{"name":"v","hostPath":{"path":"/"}}]}}""", "spec.template.spec.volumes[v].hostPath: it reaches into the machine")]
    [InlineData("""{"spec":{"hostPID":true}}""", "spec.template.spec.hostPID: it reaches into the machine")]
    [InlineData("""{"spec":{"initContainers":[{"name":"i","securityContext":{"privileged":true}}]}}""", "spec.template.spec.initContainers[i].securityContext.privileged")]
    public void Template_ThatSaysTooMuch_IsRefusedByName(string template, string problem)
    {
        DeepSpeedJobSpec spec = Some.Spec() with { Template = JsonNode.Parse(template)!.AsObject() };

        Assert.Contains(problem, string.Join('\n', ClusterRules.Check("a", spec)));
    }

    [Fact]
    public void HostAccess_Allowed_IsNoProblem()
    {
        DeepSpeedJobSpec spec = Some.Spec() with
        {
            Template = JsonNode.Parse("""{"spec":{"hostIPC":true,"volumes":[{"name":"v","hostPath":{"path":"/"}}]}}""")!.AsObject(),
            Network = new NetworkSpec { HostNetwork = true },
        };

        Assert.Equal(3, ClusterRules.Check("a", spec).Count);
        Assert.Empty(ClusterRules.Check("a", spec, allowHostAccess: true));
    }

    [Fact]
    public void Image_OfTheTemplate_IsEnough() => Assert.Empty(ClusterRules.Check("a", Some.Spec() with
    {
        Image = null,
        Template = JsonNode.Parse("""{"spec":{"containers":[{"name":"trainer","image":"mine:1"}]}}""")!.AsObject(),
    }));
}

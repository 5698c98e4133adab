using System.Text.Json.Nodes;
using DeepSpeedSharp.Jobs;
using DeepSpeedSharp.Operator.Resources;
using DeepSpeedSharp.Operator.Tests.Chart;
using DeepSpeedSharp.Operator.Tests.Planning;
using k8s;
using k8s.Models;
using YamlDotNet.RepresentationModel;

namespace DeepSpeedSharp.Operator.Tests.Security;

/// <summary>Pods of the operator and of jobs run in namespaces that enforce restricted pod security, unless somebody asks for more.</summary>
public sealed class RestrictedPodTests
{
    [Theory]
    [InlineData("Worker")]
    [InlineData("PerGpu")]
    [InlineData("Torchrun")]
    [InlineData("DeepSpeed")]
    public void Worker_FitsTheRestrictedProfile(string launcher)
    {
        V1Pod pod = Build(Some.Spec() with
        {
            Launcher = launcher,
            GpusPerNode = 2,
            Checkpoint = new CheckpointSpec { ClaimName = "claim" },
            Template = JsonNode.Parse("""
                {"spec":{"initContainers":[{"name":"data","image":"i"}],"containers":[{"name":"trainer"},{"name":"sidecar","image":"i"}]}}
                """)!.AsObject(),
        });

        Assert.Empty(RestrictedProfile.Problems(pod.Spec));
        Assert.False(pod.Spec.AutomountServiceAccountToken);
        Assert.Null(pod.Spec.ServiceAccountName);
    }

    [Fact]
    public void Sidecar_KeepsWhatItAsksFor()
    {
        V1Pod pod = Build(Some.Spec() with
        {
            Template = JsonNode.Parse("""
                {"spec":{"containers":[{"name":"rdma","image":"i","securityContext":{"capabilities":{"add":["IPC_LOCK"]}}},
                 {"name":"root","image":"i","securityContext":{"privileged":true}},
                 {"name":"trainer","securityContext":{"readOnlyRootFilesystem":false}}]}}
                """)!.AsObject(),
        });

        V1SecurityContext Of(string name) => pod.Spec.Containers.Single(c => c.Name == name).SecurityContext;
        Assert.Equal(["IPC_LOCK"], Of("rdma").Capabilities.Add);
        Assert.Equal(["ALL"], Of("rdma").Capabilities.Drop);
        Assert.Null(Of("root").AllowPrivilegeEscalation);
        Assert.False(Of("trainer").ReadOnlyRootFilesystem);
        Assert.Contains("container root: privileges", RestrictedProfile.Problems(pod.Spec));
    }

    [Fact]
    public async Task Operator_FitsTheRestrictedProfile()
    {
        IReadOnlyList<YamlMappingNode> objects = await RenderedChart.ObjectsAsync("--set", "metrics.secure=true", "--set", "metrics.tlsSecretName=certificate");
        YamlNode[] pods = [.. objects.Where(o => Kind(o) == "Deployment").Select(o => o["spec"]["template"]["spec"]), .. objects.Where(o => Kind(o) == "Pod").Select(o => o["spec"])];

        Assert.Equal(2, pods.Length);
        Assert.All(pods, pod =>
        {
            using var text = new StringWriter();
            new YamlStream(new YamlDocument(pod)).Save(text, assignAnchors: false);
            V1PodSpec spec = KubernetesYaml.Deserialize<V1PodSpec>(text.ToString().Replace("...", "", StringComparison.Ordinal));
            Assert.Empty(RestrictedProfile.Problems(spec));
            Assert.All(spec.Containers, c => Assert.True(c.SecurityContext.ReadOnlyRootFilesystem));
        });
    }

    private static string? Kind(YamlMappingNode o) => ((YamlScalarNode)o["kind"]).Value;

    private static V1Pod Build(DeepSpeedJobSpec spec)
    {
        var owner = new JobOwner("a", "default", "uid-of-a");
        JobPlan plan = JobPlan.From(spec, new JobIdentity("a", "default", "uid-of-a", 1, 0), WorkerPods.Placement(owner, spec, 1));
        return WorkerPods.Build(owner, spec, 1, plan.Nodes[0]);
    }
}

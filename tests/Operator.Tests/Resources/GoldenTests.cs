using System.Text;
using System.Text.Json.Nodes;
using DeepSpeedSharp.Jobs;
using DeepSpeedSharp.Operator.Api.Schema;
using DeepSpeedSharp.Operator.Planning;
using DeepSpeedSharp.Operator.Resources;
using DeepSpeedSharp.Operator.Resources.Gang;
using k8s;

namespace DeepSpeedSharp.Operator.Tests.Resources;

/// <summary>Manifest in, objects out. <c>REWRITE_GOLDEN=1</c> writes the expected files anew, for review.</summary>
public sealed class GoldenTests
{
    private static readonly string Folder = RepositoryFiles.Path("tests", "Operator.Tests", "Golden");

    public static TheoryData<string> Cases() => [.. Directory.GetDirectories(Folder).Select(f => Path.GetFileName(f)!).Order(StringComparer.Ordinal)];

    [Theory]
    [MemberData(nameof(Cases))]
    public void Objects_OfAJob_AreAsExpected(string name)
    {
        DeepSpeedJobManifest manifest = DeepSpeedJobManifest.Load(Path.Combine(Folder, name, "job.yaml"));
        Assert.Empty(ClusterRules.Check(manifest.Name, manifest.Spec));

        string actual = Build(manifest);

        string expected = Path.Combine(Folder, name, "expected.yaml");
        if (Environment.GetEnvironmentVariable("REWRITE_GOLDEN") == "1")
        {
            File.WriteAllText(expected, actual);
        }

        Assert.Equal(File.Exists(expected) ? File.ReadAllText(expected) : "(no expected.yaml)", actual);
    }

    private static string Build(DeepSpeedJobManifest manifest)
    {
        const int Attempt = 3;
        (DeepSpeedJobSpec spec, var owner) = (manifest.Spec, new JobOwner(manifest.Name, manifest.Namespace, "7b2f-uid"));
        JobPlan plan = JobPlan.From(spec, new JobIdentity(owner.Name, owner.Namespace, owner.Uid, Attempt, Restarts: 1),
            WorkerPods.Placement(owner, spec, Attempt), JobConfig.Elasticity(spec.Config?.ToJsonString()));
        string? group = spec.Gang() switch
        {
            GangScheduler.None => null,
            GangScheduler.Kueue => KueueGroup.Name(owner.Name, owner.Uid, attempt: 1), // kept since attempt 1
            _ => PodGroups.Name(owner.Name, Attempt),
        };
        bool avoids = spec.Restart?.Rules?.Any(r => r.AvoidNode == true) == true;
        object?[] objects =
        [
            HeadlessService.Build(owner, spec),
            RendezvousSecret.IsUsed(spec) ? RendezvousSecret.Build(owner, Attempt, [1, 2, 3]) : null,
            AttemptConfigMap.Build(owner, Attempt, plan, spec.Config?.ToJsonString()),
            CheckpointClaim.Build(owner, spec),
            JobGuards.NetworkPolicy(owner, spec),
            JobGuards.DisruptionBudget(owner, spec, plan.Nodes.Count, "policy/v1"),
            PodGroups.Build(owner, spec, Attempt, WorkerPods.AnyOf(owner, spec, Attempt)),
            .. plan.Nodes.Select(node => WorkerPods.Build(owner, spec, Attempt, node, avoids ? ["gpu-17", "gpu-3"] : null, group)),
        ];
        var text = new StringBuilder();
        foreach (object built in objects.OfType<object>())
        {
            text.Append("---\n").Append(YamlText.Write(JsonNode.Parse(KubernetesJson.Serialize(built))!.AsObject()));
        }

        return text.ToString();
    }
}

using System.Globalization;
using DeepSpeedSharp.Jobs;
using DeepSpeedSharp.Operator.Api.V1Alpha1;
using k8s.Models;

namespace DeepSpeedSharp.Operator.Resources;

/// <summary>Where the pods of an attempt may run: topology, exclusive machines and machines to stay off.</summary>
internal static class PodPlacement
{
    private const string Hostname = "kubernetes.io/hostname";

    /// <summary>Adds the rules of a spec to a pod, whose template may have brought some of its own.</summary>
    /// <param name="pod">The pod; its affinity is replaced.</param>
    /// <param name="job">The job.</param>
    /// <param name="spec">Its spec.</param>
    /// <param name="attempt">The attempt.</param>
    /// <param name="avoided">Machines to stay off.</param>
    public static void Apply(V1Pod pod, JobOwner job, DeepSpeedJobSpec spec, int attempt, IReadOnlyList<string> avoided)
    {
        V1Affinity affinity = pod.Spec.Affinity ?? new V1Affinity();
        var same = new V1LabelSelector { MatchLabels = new Dictionary<string, string> { [JobLabels.JobUid] = job.Uid } };
        if (spec.Gang() != GangScheduler.Kueue)
        {
            // Kueue wants the pods of all attempts alike, and lets none run beside those of the last one.
            same.MatchLabels[JobLabels.Attempt] = attempt.ToString(CultureInfo.InvariantCulture);
        }

        if (spec.Scheduling?.Topology is { Required: { Length: > 0 } required })
        {
            affinity.PodAffinity ??= new V1PodAffinity();
            affinity.PodAffinity.RequiredDuringSchedulingIgnoredDuringExecution =
                [.. affinity.PodAffinity.RequiredDuringSchedulingIgnoredDuringExecution ?? [], Term(same, required)];
        }
        else if (spec.Scheduling?.Topology is { Preferred: { Length: > 0 } preferred })
        {
            affinity.PodAffinity ??= new V1PodAffinity();
            affinity.PodAffinity.PreferredDuringSchedulingIgnoredDuringExecution =
            [
                .. affinity.PodAffinity.PreferredDuringSchedulingIgnoredDuringExecution ?? [],
                new V1WeightedPodAffinityTerm { Weight = 100, PodAffinityTerm = Term(same, preferred) },
            ];
        }

        if (spec.Scheduling?.ExclusivePerNode == true)
        {
            affinity.PodAntiAffinity ??= new V1PodAntiAffinity();
            affinity.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution =
                [.. affinity.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution ?? [], Term(same, Hostname)];
        }

        if (avoided.Count > 0)
        {
            Avoid(affinity, avoided);
        }

        pod.Spec.Affinity = affinity is { NodeAffinity: null, PodAffinity: null, PodAntiAffinity: null } ? null : affinity;
    }

    private static V1PodAffinityTerm Term(V1LabelSelector pods, string topology) => new() { LabelSelector = pods, TopologyKey = topology };

    // By the machine's own name, which is exact; a field selector takes one value each. Terms are alternatives, so each gets them.
    private static void Avoid(V1Affinity affinity, IReadOnlyList<string> machines)
    {
        V1NodeSelectorRequirement[] others = [.. machines.Select(machine =>
            new V1NodeSelectorRequirement { Key = "metadata.name", OperatorProperty = "NotIn", Values = [machine] })];
        affinity.NodeAffinity ??= new V1NodeAffinity();
        affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution ??= new V1NodeSelector { NodeSelectorTerms = [] };
        V1NodeSelector required = affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution;
        if (required.NodeSelectorTerms.Count == 0)
        {
            required.NodeSelectorTerms = [new V1NodeSelectorTerm()];
        }

        foreach (V1NodeSelectorTerm term in required.NodeSelectorTerms)
        {
            term.MatchFields = [.. term.MatchFields ?? [], .. others];
        }
    }
}

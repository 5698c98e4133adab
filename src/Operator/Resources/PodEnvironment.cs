using DeepSpeedSharp.Jobs;
using k8s;
using k8s.Models;

namespace DeepSpeedSharp.Operator.Resources;

/// <summary>Environment of the worker's container.</summary>
internal static class PodEnvironment
{
    /// <summary>The job's variables first, so that the user's may refer to them as $(NAME).</summary>
    public static IEnumerable<V1EnvVar> Of(DeepSpeedJobSpec spec, NodePlan node) =>
    [
        .. OfJob(node),
        .. RendezvousSecret.IsUsed(spec) ? [new V1EnvVar { Name = RendezvousSecret.Variable, Value = RendezvousSecret.File }] : Array.Empty<V1EnvVar>(),
        .. (spec.Env ?? []).Select(Users),
    ];

    /// <summary>The job's variables alone.</summary>
    public static IEnumerable<V1EnvVar> OfJob(NodePlan node) =>
    [
        .. node.Environment.Select(v => new V1EnvVar { Name = v.Key, Value = v.Value }),
        FromField("POD_NAME", "metadata.name"),
        FromField("POD_IP", "status.podIP"),
        FromField("CLUSTER_NODE", "spec.nodeName"),
    ];

    private static V1EnvVar FromField(string name, string path) => new()
    {
        Name = name,
        ValueFrom = new V1EnvVarSource { FieldRef = new V1ObjectFieldSelector { FieldPath = path } },
    };

    private static V1EnvVar Users(EnvVar variable) => new()
    {
        Name = variable.Name,
        Value = variable.Value,
        ValueFrom = variable.ValueFrom is { } source
            ? KubernetesJson.Deserialize<V1EnvVarSource>(source.ToJsonString()) : null,
    };
}

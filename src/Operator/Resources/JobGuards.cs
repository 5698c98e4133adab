using DeepSpeedSharp.Jobs;
using DeepSpeedSharp.Operator.Api.V1Alpha1;
using k8s.Models;

namespace DeepSpeedSharp.Operator.Resources;

/// <summary>What protects the pods of a job: from strangers on the network, and from drains.</summary>
internal static class JobGuards
{
    /// <summary>Lets only the job's own pods connect, and anybody to the metrics port; null unless asked for.</summary>
    public static V1NetworkPolicy? NetworkPolicy(JobOwner job, DeepSpeedJobSpec spec) => spec.Network?.Policy != true ? null : new()
    {
        ApiVersion = "networking.k8s.io/v1",
        Kind = "NetworkPolicy",
        Metadata = JobMetadata.Owned(job, job.Name),
        Spec = new V1NetworkPolicySpec
        {
            PodSelector = Pods(job),
            PolicyTypes = ["Ingress"],
            Ingress =
            [
                new V1NetworkPolicyIngressRule { FromProperty = [new V1NetworkPolicyPeer { PodSelector = Pods(job) }] },
                new V1NetworkPolicyIngressRule
                {
                    Ports = [new V1NetworkPolicyPort { Port = spec.MetricsPort(), Protocol = "TCP" }],
                },
            ],
        },
    };

    /// <summary>Keeps drains from ending a pod of the running job; null unless asked for.</summary>
    /// <param name="job">The job.</param>
    /// <param name="spec">Its spec.</param>
    /// <param name="pods">Pods of the attempt, all of which are needed.</param>
    /// <param name="apiVersion">policy/v1, or policy/v1beta1 before Kubernetes 1.21.</param>
    public static V1PodDisruptionBudget? DisruptionBudget(JobOwner job, DeepSpeedJobSpec spec, int pods, string apiVersion) =>
        spec.Scheduling?.PodDisruptionBudget != true ? null : new()
        {
            ApiVersion = apiVersion,
            Kind = "PodDisruptionBudget",
            Metadata = JobMetadata.Owned(job, job.Name),
            Spec = new V1PodDisruptionBudgetSpec { MinAvailable = pods, Selector = Pods(job) },
        };

    private static V1LabelSelector Pods(JobOwner job) => new()
    {
        MatchLabels = new Dictionary<string, string> { [JobLabels.JobName] = job.Name, [JobLabels.JobUid] = job.Uid },
    };
}

using DeepSpeedSharp.Jobs;
using DeepSpeedSharp.Operator.Api.V1Alpha1;
using k8s.Models;

namespace DeepSpeedSharp.Operator.Resources;

/// <summary>The Service that gives pods their host names; named like the job.</summary>
internal static class HeadlessService
{
    /// <summary>Builds it.</summary>
    public static V1Service Build(JobOwner job, DeepSpeedJobSpec spec) => new()
    {
        ApiVersion = "v1",
        Kind = "Service",
        Metadata = JobMetadata.Owned(job, job.Name),
        Spec = new V1ServiceSpec
        {
            ClusterIP = "None",

            // Ranks look each other up while they start, long before they are ready.
            PublishNotReadyAddresses = true,
            Selector = new Dictionary<string, string> { [JobLabels.JobName] = job.Name, [JobLabels.JobUid] = job.Uid },

            // Service meshes guess the protocol from the name.
            Ports =
            [
                new V1ServicePort { Name = "tcp-master", Port = spec.Port(), TargetPort = spec.Port(), Protocol = "TCP" },
                new V1ServicePort { Name = "tcp-metrics", Port = spec.MetricsPort(), TargetPort = spec.MetricsPort(), Protocol = "TCP" },
            ],
        },
    };
}

using System.Globalization;
using DeepSpeedSharp.Jobs;
using k8s.Models;

namespace DeepSpeedSharp.Operator.Resources;

/// <summary>Config and hostfile of one attempt, immutable: it records what the attempt ran with.</summary>
internal static class AttemptConfigMap
{
    /// <summary>Key of the DeepSpeed config.</summary>
    public const string ConfigKey = "ds_config.json";

    /// <summary>Key of the hostfile.</summary>
    public const string HostfileKey = "hostfile";

    /// <summary>Where it is mounted.</summary>
    public const string MountPath = "/etc/deepspeed";

    /// <summary>Its name.</summary>
    public static string Name(string job, int attempt) => string.Create(CultureInfo.InvariantCulture, $"{job}-{attempt}");

    /// <summary>Builds it.</summary>
    /// <param name="job">The job.</param>
    /// <param name="attempt">The attempt.</param>
    /// <param name="plan">The job's plan.</param>
    /// <param name="config">The DeepSpeed config, verbatim; null when the job has none.</param>
    public static V1ConfigMap Build(JobOwner job, int attempt, JobPlan plan, string? config)
    {
        var data = new Dictionary<string, string>();
        if (config is not null)
        {
            data[ConfigKey] = config;
        }

        data[HostfileKey] = plan.Hostfile;
        return new V1ConfigMap
        {
            ApiVersion = "v1",
            Kind = "ConfigMap",
            Metadata = JobMetadata.Owned(job, Name(job.Name, attempt), attempt),
            Data = data,
            Immutable = true,
        };
    }
}

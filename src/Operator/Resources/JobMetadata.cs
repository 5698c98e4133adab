using System.Globalization;
using DeepSpeedSharp.Operator.Api.V1Alpha1;
using k8s.Models;

namespace DeepSpeedSharp.Operator.Resources;

/// <summary>Which job objects are built for.</summary>
/// <param name="Name">Name of the job.</param>
/// <param name="Namespace">Its namespace.</param>
/// <param name="Uid">Its identity.</param>
internal sealed record JobOwner(string Name, string Namespace, string Uid)
{
    /// <summary>The owner of a job's objects.</summary>
    public static JobOwner Of(DeepSpeedJob job) => new(job.Metadata.Name, job.Metadata.NamespaceProperty, job.Metadata.Uid);
}

/// <summary>Names, labels and owners of a job's objects.</summary>
internal static class JobMetadata
{
    /// <summary>Metadata of an object that goes away with the job.</summary>
    /// <param name="job">The job.</param>
    /// <param name="name">Name of the object.</param>
    /// <param name="attempt">Attempt it belongs to, if it belongs to one.</param>
    public static V1ObjectMeta Owned(JobOwner job, string name, int? attempt = null)
    {
        V1ObjectMeta metadata = Free(job, name);
        if (attempt is { } number)
        {
            metadata.Labels[JobLabels.Attempt] = number.ToString(CultureInfo.InvariantCulture);
        }

        metadata.OwnerReferences =
        [
            new V1OwnerReference
            {
                ApiVersion = DeepSpeedJob.GroupVersion,
                Kind = Jobs.DeepSpeedJobManifest.Kind,
                Name = job.Name,
                Uid = job.Uid,
                Controller = true,
                BlockOwnerDeletion = true,
            },
        ];
        return metadata;
    }

    /// <summary>Whether a label is one of those that objects of jobs are known by.</summary>
    public static bool IsOwn(string label) => label.StartsWith(JobLabels.Prefix, StringComparison.Ordinal)
        || label.StartsWith("app.kubernetes.io/", StringComparison.Ordinal);

    /// <summary>Metadata of an object that outlives the job.</summary>
    public static V1ObjectMeta Free(JobOwner job, string name) => new()
    {
        Name = name,
        NamespaceProperty = job.Namespace,
        Labels = new Dictionary<string, string>
        {
            ["app.kubernetes.io/name"] = "deepspeed-worker",
            ["app.kubernetes.io/instance"] = job.Name,
            ["app.kubernetes.io/component"] = "worker",
            ["app.kubernetes.io/part-of"] = "deepspeedsharp",
            ["app.kubernetes.io/managed-by"] = JobLabels.ManagedBy,
            [JobLabels.Job] = "true",
            [JobLabels.JobName] = job.Name,
            [JobLabels.JobUid] = job.Uid,
        },
    };
}

using DeepSpeedSharp.Jobs;

namespace DeepSpeedSharp.Operator.Api.V1Alpha1;

/// <summary>Labels of everything the operator creates; the first five select, the others only describe.</summary>
internal static class JobLabels
{
    public const string Prefix = DeepSpeedJobManifest.Group + "/";

    /// <summary>"true" on every object of every job: what the operator watches.</summary>
    public const string Job = Prefix + "job";

    /// <summary>Name of the job.</summary>
    public const string JobName = Prefix + "job-name";

    /// <summary>Identity of the job object.</summary>
    public const string JobUid = Prefix + "job-uid";

    /// <summary>Attempt a pod or ConfigMap belongs to.</summary>
    public const string Attempt = Prefix + "attempt";

    /// <summary>Index of a pod.</summary>
    public const string NodeRank = Prefix + "node-rank";

    /// <summary>Annotation: hash of what was last applied, so that an object that is as it should be is not written again.</summary>
    public const string AppliedHash = Prefix + "applied-hash";

    /// <summary>Value of app.kubernetes.io/managed-by, and the field manager of our writes.</summary>
    public const string ManagedBy = "deepspeed-operator";
}

using DeepSpeedSharp.Jobs;
using k8s;
using k8s.Models;

namespace DeepSpeedSharp.Operator.Resources;

/// <summary>The claim for checkpoints. Nobody owns it, unless the user wants that: weeks of training must not go with a
/// deleted job.</summary>
internal static class CheckpointClaim
{
    /// <summary>Builds it; null when the job brings its own claim or keeps no checkpoints.</summary>
    public static V1PersistentVolumeClaim? Build(JobOwner job, DeepSpeedJobSpec spec) =>
        spec.Checkpoint is { VolumeClaimTemplate.Spec: { } template } checkpoint
            ? new V1PersistentVolumeClaim
            {
                ApiVersion = "v1",
                Kind = "PersistentVolumeClaim",
                Metadata = checkpoint.Retain == "Delete"
                    ? JobMetadata.Owned(job, checkpoint.ClaimFor(job.Name)) : JobMetadata.Free(job, checkpoint.ClaimFor(job.Name)),
                Spec = KubernetesJson.Deserialize<V1PersistentVolumeClaimSpec>(template.ToJsonString()),
            }
            : null;
}

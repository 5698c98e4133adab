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
                Metadata = Metadata(job, checkpoint),
                Spec = KubernetesJson.Deserialize<V1PersistentVolumeClaimSpec>(template.ToJsonString()),
            }
            : null;

    private static V1ObjectMeta Metadata(JobOwner job, CheckpointSpec checkpoint)
    {
        string name = checkpoint.ClaimFor(job.Name);
        V1ObjectMeta metadata = checkpoint.Retain == "Delete" ? JobMetadata.Owned(job, name) : JobMetadata.Free(job, name);
        ClaimMetadata? own = checkpoint.VolumeClaimTemplate?.Metadata;
        foreach ((string label, string value) in own?.Labels ?? new Dictionary<string, string>())
        {
            metadata.Labels.TryAdd(label, value);
        }

        metadata.Annotations = own?.Annotations is { Count: > 0 } annotations ? new Dictionary<string, string>(annotations) : null;
        return metadata;
    }
}

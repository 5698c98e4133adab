using System.Globalization;
using DeepSpeedSharp.Jobs;
using k8s.Models;

namespace DeepSpeedSharp.Operator.Resources.Gang;

/// <summary>PodGroups of an attempt and what its pods say to belong to them: spec in, objects out.</summary>
/// <remarks>A group is one attempt's: pods of the attempt before would count as its members while they end.</remarks>
internal static class PodGroups
{
    private const string VolcanoGroup = "scheduling.k8s.io/group-name";
    private const string CoschedulingGroup = "scheduling.x-k8s.io/pod-group";

    /// <summary>Labels and annotations by which pods belong to a group; a template may not set them.</summary>
    public static readonly IReadOnlyList<string> Owned = [VolcanoGroup, CoschedulingGroup];

    /// <summary>API group and version of a scheduler's PodGroups; null for one that has none.</summary>
    public static string? ApiVersion(GangScheduler scheduler) => scheduler switch
    {
        GangScheduler.Volcano => "scheduling.volcano.sh/v1beta1",
        GangScheduler.Coscheduling => "scheduling.x-k8s.io/v1alpha1",
        _ => null,
    };

    /// <summary>Name of an attempt's group.</summary>
    public static string Name(string job, int attempt) => string.Create(CultureInfo.InvariantCulture, $"{job}-{attempt}");

    /// <summary>Builds the group of an attempt; null for a scheduler that has none.</summary>
    /// <param name="job">The job.</param>
    /// <param name="spec">Its spec, with the attempt's number of nodes.</param>
    /// <param name="attempt">The attempt.</param>
    /// <param name="pod">Any pod of the attempt: all are alike.</param>
    public static PodGroup? Build(JobOwner job, DeepSpeedJobSpec spec, int attempt, V1Pod pod)
    {
        GangScheduler scheduler = spec.Gang();
        if (ApiVersion(scheduler) is not { } version)
        {
            return null;
        }

        IReadOnlyDictionary<string, string> resources = PodRequests.Of(pod, spec.MinAvailable());
        bool isVolcano = scheduler == GangScheduler.Volcano;
        return new PodGroup
        {
            ApiVersion = version,
            Metadata = JobMetadata.Owned(job, Name(job.Name, attempt), attempt),
            Spec = new PodGroupSpec
            {
                MinMember = spec.MinAvailable(),
                MinResources = resources.Count == 0 ? null : resources,
                Queue = isVolcano && !string.IsNullOrEmpty(spec.Scheduling!.Queue) ? spec.Scheduling.Queue : null,
                PriorityClassName = isVolcano ? pod.Spec.PriorityClassName : null,
                ScheduleTimeoutSeconds = isVolcano ? null : spec.Scheduling!.ScheduleTimeoutSeconds,
            },
        };
    }

    /// <summary>Puts a pod into the group of its attempt.</summary>
    public static void Join(V1Pod pod, GangScheduler scheduler, string group)
    {
        if (scheduler == GangScheduler.Volcano)
        {
            pod.Metadata.Annotations[VolcanoGroup] = group;
        }
        else if (scheduler == GangScheduler.Coscheduling)
        {
            pod.Metadata.Labels[CoschedulingGroup] = group;
        }
    }
}

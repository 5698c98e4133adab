using System.Globalization;
using DeepSpeedSharp.Operator.Planning;
using k8s.Models;

namespace DeepSpeedSharp.Operator.Resources.Gang;

/// <summary>Kueue's groups of plain pods. Kueue itself makes the Workload, which has the group's name, and holds the pods back
/// by a scheduling gate until the whole group has quota.</summary>
/// <remarks>
/// A group keeps its quota while its failed pods are replaced under the same name, so restarts keep it. It is given up by
/// saying on one of its pods that it gets no more; Kueue then ends the Workload when no pod is active.
/// </remarks>
internal static class KueueGroup
{
    /// <summary>Kueue's API group.</summary>
    public const string ApiGroup = "kueue.x-k8s.io";

    /// <summary>Label: the queue, of pods and of jobs.</summary>
    public const string QueueLabel = ApiGroup + "/queue-name";

    /// <summary>Label: the group's name.</summary>
    public const string NameLabel = ApiGroup + "/pod-group-name";

    /// <summary>Annotation: "false" says that the group gets no more pods. Kueue does not let it be taken back.</summary>
    public const string RetriableAnnotation = ApiGroup + "/retriable-in-group";

    private const string CountAnnotation = ApiGroup + "/pod-group-total-count";
    private const string IndexLabel = ApiGroup + "/pod-group-pod-index";

    /// <summary>Labels and annotations by which pods belong to a group; a template may not set them.</summary>
    public static readonly IReadOnlyList<string> Owned = [QueueLabel, NameLabel, RetriableAnnotation, CountAnnotation, IndexLabel];

    /// <summary>Name of a group: the job's, told apart from those of an earlier job of the same name.</summary>
    /// <param name="job">Name of the job.</param>
    /// <param name="uid">Its identity.</param>
    /// <param name="attempt">The first attempt of the group.</param>
    public static string Name(string job, string uid, int attempt) =>
        string.Create(CultureInfo.InvariantCulture, $"{job}-{SpecHash.OfText(uid)[..5]}-{attempt}");

    /// <summary>Puts a pod into a group.</summary>
    /// <param name="pod">The pod.</param>
    /// <param name="group">The group.</param>
    /// <param name="queue">Its queue.</param>
    /// <param name="index">Index of the pod.</param>
    /// <param name="count">Pods of the group.</param>
    public static void Join(V1Pod pod, string group, string queue, int index, int count)
    {
        pod.Metadata.Labels[QueueLabel] = queue;
        pod.Metadata.Labels[NameLabel] = group;
        pod.Metadata.Labels[IndexLabel] = index.ToString(CultureInfo.InvariantCulture);
        pod.Metadata.Annotations[CountAnnotation] = count.ToString(CultureInfo.InvariantCulture);
    }
}

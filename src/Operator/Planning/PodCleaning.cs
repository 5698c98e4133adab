using DeepSpeedSharp.Jobs;

namespace DeepSpeedSharp.Operator.Planning;

/// <summary>A pod to delete.</summary>
/// <param name="Pod">The pod.</param>
/// <param name="Force">Whether not to wait for its machine, which is out of reach.</param>
internal sealed record PodDeletion(PodSnapshot Pod, bool Force);

/// <summary>Which pods go.</summary>
internal static class PodCleaning
{
    /// <summary>Deletes pods that are not on their way out yet; by force those that are lost.</summary>
    /// <remarks>Pods of an attempt that is not known here belong to an operator that knows more.</remarks>
    public static PodDeletion[] Delete(JobSnapshot job, IEnumerable<PodSnapshot> pods) =>
    [
        .. pods.Where(p => p.Attempt <= job.Status.Attempt)
            .Select(pod => pod.DeletedAt is null ? new PodDeletion(pod, Force: job.IsLost(pod) && !pod.IsTerminal)

            // Nothing of it is on a machine any more; it waits for whoever has a finalizer on it, and force would change nothing.
            : job.IsLost(pod) && !(pod.HasFinalizers && (pod.IsTerminal || pod.ClusterNode is null)) ? new PodDeletion(pod, Force: true)
            : null).OfType<PodDeletion>(),
    ];

    /// <summary>Pods of earlier attempts that go now: all but those that failed first last, for a look at their logs.</summary>
    public static PodDeletion[] DeleteOld(JobSnapshot job)
    {
        HashSet<string> kept = [.. (job.Status.LastFailures ?? []).Select(f => f.Pod).OfType<string>()
            .Where(name => job.Pods.Any(p => p.Name == name && p is { IsTerminal: true, IsFailed: true })).Take(job.Spec.FailedPodsToKeep())];
        return Delete(job, job.OlderPods.Where(p => !p.IsTerminal || !kept.Contains(p.Name)));
    }

    /// <summary>Pods that go because the job is over.</summary>
    public static PodDeletion[] DeleteFinal(JobSnapshot job) => job.Spec?.CleanPodPolicy switch
    {
        "None" => [],
        "All" => Delete(job, job.Pods),
        _ => Delete(job, job.Pods.Where(p => !p.IsTerminal)),
    };
}

using DeepSpeedSharp.Config;
using DeepSpeedSharp.Operator.Api.V1Alpha1;

namespace DeepSpeedSharp.Operator.Planning;

/// <summary>How jobs end, for good or until they are resumed.</summary>
internal static class JobEnd
{
    /// <summary>All nodes succeeded, or the one that decides.</summary>
    public static DeepSpeedJobStatus Complete(JobSnapshot job)
    {
        bool all = Enumerable.Range(0, job.Desired).All(job.Succeeded.Contains);
        DeepSpeedJobStatus status = JobObservation.Count(job) with { Phase = Phases.Complete, CompletionTime = job.Now };
        if (status.Progress is { } progress)
        {
            status = status with { Progress = progress with { Percent = 100, EtaSeconds = 0 } };
        }

        status = status.With(job.Now, ConditionTypes.Complete, true, all ? Reasons.AllNodesSucceeded : Reasons.Rank0Succeeded, all
            ? $"All {job.Desired} nodes succeeded in attempt {status.Attempt}."
            : $"Node 0 succeeded in attempt {status.Attempt}, which is enough for successPolicy Rank0.");
        status = status.With(job.Now, ConditionTypes.Running, false, Reasons.Finished);
        return status.With(job.Now, ConditionTypes.Restarting, false, Reasons.Finished);
    }

    /// <summary>The job is given up.</summary>
    public static DeepSpeedJobStatus Failed(DeepSpeedJobStatus status, DateTimeOffset now, string reason, string message)
    {
        status = status with { Phase = Phases.Failed, CompletionTime = now, NextStartTime = null };
        status = status.With(now, ConditionTypes.Failed, true, reason, message);
        status = status.With(now, ConditionTypes.Running, false, Reasons.Finished);
        return status.With(now, ConditionTypes.Restarting, false, Reasons.Finished);
    }

    /// <summary>The spec cannot be carried out. An edit of it is judged anew.</summary>
    public static DeepSpeedJobStatus InvalidSpec(JobSnapshot job) =>
        Failed(JobObservation.Count(job), job.Now, Reasons.InvalidSpec, Describe(job.Problems));

    /// <summary>Opens a job again that had failed for its spec.</summary>
    public static DeepSpeedJobStatus Reopen(JobSnapshot job) =>
        (job.Status with { CompletionTime = null, Phase = Phases.Pending })
            .With(job.Now, ConditionTypes.Failed, false, Reasons.SpecIsValid);

    /// <summary>The job rests, or its pods are ending for that.</summary>
    /// <param name="job">What was found.</param>
    /// <param name="active">Pods that have not ended.</param>
    public static DeepSpeedJobStatus Suspended(JobSnapshot job, int active)
    {
        DeepSpeedJobStatus status = job.Status.IsSuspending() ? JobObservation.Count(job) : job.Status;
        bool ended = active == 0;
        status = status with { Phase = Phases.Suspended, LastStartTime = null, NextStartTime = null };
        status = status.With(job.Now, ConditionTypes.Suspended, ended, ended ? Reasons.SuspendedByUser : Reasons.PodsEnding,
            ended ? "Set spec.suspend to false to go on from the last checkpoint." : "Pods save a last checkpoint and end.");
        status = status.With(job.Now, ConditionTypes.Running, false, ConditionTypes.Suspended);
        status = status.With(job.Now, ConditionTypes.Scheduled, false, ConditionTypes.Suspended);
        return status.With(job.Now, ConditionTypes.Restarting, false, ConditionTypes.Suspended);
    }

    /// <summary>All problems in one message.</summary>
    public static string Describe(IReadOnlyList<ConfigError> problems) => string.Join(" | ", problems);
}

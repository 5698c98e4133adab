using System.Globalization;
using DeepSpeedSharp.Jobs;
using DeepSpeedSharp.Operator.Api.V1Alpha1;

namespace DeepSpeedSharp.Operator.Planning;

/// <summary>What follows a failure: the next attempt, or the end.</summary>
internal static class JobRestart
{
    private const int MostFailures = 5;
    private static readonly TimeSpan FirstBackoff = TimeSpan.FromSeconds(10);
    private static readonly TimeSpan LongestBackoff = TimeSpan.FromSeconds(300);

    /// <summary>An attempt that ended sooner is not repeated at once for ever: its node may refuse every pod.</summary>
    private static readonly TimeSpan ShortLived = TimeSpan.FromSeconds(60);

    /// <summary>Training that went well for so long ends a row of failures.</summary>
    private static readonly TimeSpan Healthy = TimeSpan.FromSeconds(1800);

    /// <summary>The status after a failure. Counter and attempt change in this one write.</summary>
    /// <param name="job">What was found.</param>
    /// <param name="failures">The failures, cause first.</param>
    public static DeepSpeedJobStatus After(JobSnapshot job, IReadOnlyList<NodeFailure> failures)
    {
        NodeFailure cause = failures[0];
        DeepSpeedJobStatus status = JobObservation.Count(job);
        if (cause.Kind == FailureKind.Refusal)
        {
            return JobEnd.Failed(Record(status, job, cause, "FailJob"), job.Now, Reasons.WorkerRefused,
                $"{Sentence(cause.Message)} Trying again would not help.");
        }

        bool counts = cause.Kind == FailureKind.Counted;
        if (job.Problems.Count > 0 || job.Spec is null)
        {
            return JobEnd.Failed(Record(status, job, cause, "FailJob"), job.Now, Reasons.InvalidSpec,
                $"{Sentence(cause.Message)} The job cannot start again: {JobEnd.Describe(job.Problems)}");
        }

        if (counts && status.Restarts >= job.Spec.MaxRestarts())
        {
            return JobEnd.Failed(Record(status, job, cause, "FailJob"), job.Now, Reasons.MaxRestartsExceeded,
                $"{Sentence(cause.Message)} That was failure {status.Restarts + 1}, and restart.maxRestarts is {job.Spec.MaxRestarts()}.");
        }

        bool wasHealthy = status.Condition(ConditionTypes.Running) is { Status: JobConditions.True } running
            && job.Now - running.LastTransitionTime >= Healthy;
        int row = wasHealthy ? 0 : status.ConsecutiveFailures;
        bool inARow = counts || job.Now - (status.LastStartTime ?? job.Now) < ShortLived;
        int waits = counts ? row : row - 1; // the first disruption is not waited for
        TimeSpan backoff = inARow && waits >= 0 ? Min(FirstBackoff * Math.Pow(2, Math.Min(waits, 30)), LongestBackoff) : TimeSpan.Zero;
        status = JobStart.Next(Record(status, job, cause, counts ? "Restart" : "RestartIgnoreLimit"), job) with
        {
            Restarts = status.Restarts + (counts ? 1 : 0),
            Disruptions = status.Disruptions + (counts ? 0 : 1),
            ConsecutiveFailures = inARow ? row + 1 : row,
            NextStartTime = backoff > TimeSpan.Zero ? job.Now + backoff : null,
            Phase = Phases.Restarting,
        };
        string next = backoff > TimeSpan.Zero
            ? string.Create(CultureInfo.InvariantCulture, $" The next attempt starts at {(job.Now + backoff).UtcDateTime:HH:mm:ss} UTC.") : "";
        status = status.With(job.Now, ConditionTypes.Restarting, true, counts ? Reasons.NodeFailed : Reasons.Disruption,
            Sentence(cause.Message) + next);
        status = status.With(job.Now, ConditionTypes.Running, false, ConditionTypes.Restarting);
        return status.With(job.Now, ConditionTypes.Scheduled, false, Reasons.PodsNotCreated);
    }

    /// <summary>A message with its full stop.</summary>
    public static string Sentence(string text)
    {
        string trimmed = text.TrimEnd();
        return trimmed.Length > 0 && trimmed[^1] is '.' or '!' or '?' ? trimmed : trimmed + ".";
    }

    private static DeepSpeedJobStatus Record(DeepSpeedJobStatus status, JobSnapshot job, NodeFailure cause, string action) =>
        status with
        {
            LastFailures =
            [
                cause.ToStatus(status.Attempt, action, job.Now),
                .. (status.LastFailures ?? []).Take(MostFailures - 1),
            ],
        };

    private static TimeSpan Min(TimeSpan a, TimeSpan b) => a < b ? a : b;
}

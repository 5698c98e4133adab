using System.Globalization;
using DeepSpeedSharp.Jobs;
using DeepSpeedSharp.Operator.Api.V1Alpha1;

namespace DeepSpeedSharp.Operator.Planning;

/// <summary>What follows a failure: the next attempt, or the end.</summary>
internal static class JobRestart
{
    private const int MostFailures = 5;
    private const int MostAvoided = 16;

    /// <summary>An attempt that ended sooner is not repeated at once for ever: its node may refuse every pod.</summary>
    private static readonly TimeSpan ShortLived = TimeSpan.FromSeconds(60);

    /// <summary>The status after a failure. Counter and attempt change in this one write.</summary>
    /// <param name="job">What was found.</param>
    /// <param name="failures">The failures, cause first.</param>
    public static DeepSpeedJobStatus After(JobSnapshot job, IReadOnlyList<NodeFailure> failures)
    {
        NodeFailure cause = failures[0];
        var policy = FailurePolicy.For(cause, job.Spec);
        DeepSpeedJobStatus status = JobObservation.Count(job);
        if (LastStraw(job, cause, policy) is var (reason, why))
        {
            status = Record(status, job, cause, policy with { Action = FailurePolicy.FailJob });
            return JobEnd.Failed(status, job.Now, reason, $"{Sentence(Capital(cause.Message))} {why} {FailureAdvice.For(cause)}");
        }

        bool counts = policy.Action == FailurePolicy.Restart;
        (int row, TimeSpan backoff) = Pause(job, status, counts);
        status = JobStart.Next(Record(status, job, cause, policy) with { AvoidedNodes = Avoid(status, cause, policy) }, job, job.Desired) with
        {
            Restarts = status.Restarts + (counts ? 1 : 0),
            Disruptions = status.Disruptions + (counts ? 0 : 1),
            ConsecutiveFailures = row,
            NextStartTime = backoff > TimeSpan.Zero ? job.Now + backoff : null,
            Phase = Phases.Restarting,
        };
        string next = backoff > TimeSpan.Zero
            ? string.Create(CultureInfo.InvariantCulture, $" The next attempt starts at {(job.Now + backoff).UtcDateTime:HH:mm:ss} UTC.") : "";
        return Restarting(status, job.Now, cause.Reason switch
        {
            Reasons.Hang or Reasons.NodeLost => cause.Reason,
            _ => counts ? Reasons.NodeFailed : Reasons.Disruption,
        }, Sentence(Capital(cause.Message)) + next);
    }

    /// <summary>The status of a job that goes on with another number of nodes.</summary>
    /// <param name="job">What was found.</param>
    /// <param name="resize">The number, and why.</param>
    public static DeepSpeedJobStatus Resized(JobSnapshot job, Resize resize)
    {
        DeepSpeedJobStatus status = JobObservation.Count(job);
        ElasticStatus elastic = status.Elastic!;
        bool growthFailed = elastic.GrowthAttempt == status.Attempt && resize.Nodes < job.Desired;
        int before = job.Desired;
        status = JobStart.Next(status, job, resize.Nodes) with { Resizes = status.Resizes + 1, Phase = Phases.Restarting, NextStartTime = null };
        status = status with
        {
            Elastic = status.Elastic! with
            {
                GrowthAttempt = resize.IsGrowth ? status.Attempt : elastic.GrowthAttempt,
                FailedGrowths = elastic.FailedGrowths + (growthFailed ? 1 : 0),
            },
        };
        return Restarting(status, job.Now, Reasons.Resize, string.Create(CultureInfo.InvariantCulture,
            $"The job goes on with {status.Nodes!.Desired} nodes instead of {before}: {Sentence(resize.Reason)}"));
    }

    /// <summary>A message with its full stop.</summary>
    public static string Sentence(string text)
    {
        string trimmed = text.TrimEnd();
        return trimmed.Length > 0 && trimmed[^1] is '.' or '!' or '?' ? trimmed : trimmed + ".";
    }

    private static string Capital(string text) => text.Length == 0 ? text : char.ToUpperInvariant(text[0]) + text[1..];

    // Why the job is given up; null when it starts again.
    private static (string Reason, string Why)? LastStraw(JobSnapshot job, NodeFailure cause, FailurePolicy policy)
    {
        DeepSpeedJobStatus status = job.Status;
        if (policy.Action == FailurePolicy.FailJob)
        {
            return policy.Rule is { } rule
                ? (Reasons.RuleFailJob, $"The rule {rule.Name} of restart.rules ends the job for that.")
                : (Reasons.WorkerRefused, "Trying again would not help.");
        }

        if (job.Problems.Count > 0 || job.Spec is not { } spec)
        {
            return (Reasons.InvalidSpec, Sentence($"The job cannot start again: {JobEnd.Describe(job.Problems)}"));
        }

        if (spec.NeverRestarts())
        {
            return (Reasons.RestartPolicyNever, "restart.policy is Never.");
        }

        return policy.Action == FailurePolicy.Restart
            ? status.Restarts >= spec.MaxRestarts() ? (Reasons.MaxRestartsExceeded, string.Create(CultureInfo.InvariantCulture,
                $"That was failure {status.Restarts + 1}, and restart.maxRestarts is {spec.MaxRestarts()}.")) : null
            : status.Disruptions >= spec.Restart?.MaxDisruptions ? (Reasons.MaxDisruptionsExceeded, string.Create(CultureInfo.InvariantCulture,
                $"That was disruption {status.Disruptions + 1}, and restart.maxDisruptions is {spec.Restart.MaxDisruptions}.")) : null;
    }

    private static (int Row, TimeSpan Backoff) Pause(JobSnapshot job, DeepSpeedJobStatus status, bool counts)
    {
        DeepSpeedJobSpec spec = job.Spec!;
        bool wasHealthy = status.Condition(ConditionTypes.Running) is { Status: JobConditions.True } running
            && job.Now - running.LastTransitionTime >= spec.ResetAfter();
        int row = wasHealthy ? 0 : status.ConsecutiveFailures;
        bool inARow = counts || job.Now - (status.LastStartTime ?? job.Now) < ShortLived;
        int waits = counts ? row : row - 1; // the first disruption is not waited for
        TimeSpan pause = inARow && waits >= 0 ? spec.Backoff() * Math.Pow(2, Math.Min(waits, 30)) : TimeSpan.Zero;
        return (inARow ? row + 1 : row, pause < spec.BackoffMax() ? pause : spec.BackoffMax());
    }

    private static IReadOnlyList<string>? Avoid(DeepSpeedJobStatus status, NodeFailure cause, FailurePolicy policy) =>
        policy.Rule?.AvoidNode == true && cause.Pod?.ClusterNode is { } machine
            ? [machine, .. (status.AvoidedNodes ?? []).Where(n => n != machine).Take(MostAvoided - 1)] : status.AvoidedNodes;

    private static DeepSpeedJobStatus Restarting(DeepSpeedJobStatus status, DateTimeOffset now, string reason, string message)
    {
        status = status.With(now, ConditionTypes.Restarting, true, reason, message);
        status = status.With(now, ConditionTypes.Running, false, ConditionTypes.Restarting);
        return status.With(now, ConditionTypes.Scheduled, false, Reasons.PodsNotCreated);
    }

    private static DeepSpeedJobStatus Record(DeepSpeedJobStatus status, JobSnapshot job, NodeFailure cause, FailurePolicy policy) =>
        status with
        {
            LastFailures =
            [
                cause.ToStatus(status.Attempt, policy, job.Now),
                .. (status.LastFailures ?? []).Take(MostFailures - 1),
            ],
        };
}

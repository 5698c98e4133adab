using System.Globalization;
using DeepSpeedSharp.Jobs;
using DeepSpeedSharp.Operator.Api.V1Alpha1;

namespace DeepSpeedSharp.Operator.Planning;

/// <summary>Times after which a job does not go on as it is.</summary>
internal static class JobDeadlines
{
    /// <summary>The status of a job that has run out of time; null while it has not.</summary>
    /// <param name="job">What was found.</param>
    public static DeepSpeedJobStatus? Exceeded(JobSnapshot job)
    {
        if (Active(job) is { } active && job.Now >= active)
        {
            return JobEnd.Failed(JobObservation.Count(job), job.Now, Reasons.DeadlineExceeded, string.Create(CultureInfo.InvariantCulture,
                $"The job was active for longer than activeDeadlineSeconds, which is {job.Spec!.ActiveDeadlineSeconds}. Its checkpoints are kept; a new job of the same name with a larger value goes on from them."));
        }

        if (Startup(job) is { } startup && job.Now >= startup)
        {
            DeepSpeedJobStatus status = JobObservation.Of(job, [], TimeSpan.Zero);
            if (status.ReadyAttempt == status.Attempt)
            {
                return null; // the last of them became ready in this moment
            }

            string why = status.Condition(ConditionTypes.Scheduled) is { Status: JobConditions.False, Message: { } homeless } ? homeless
                : status.Condition(ConditionTypes.Running)?.Message ?? "Its pods did not become ready.";
            return JobEnd.Failed(status, job.Now, Reasons.StartupDeadlineExceeded, string.Create(CultureInfo.InvariantCulture,
                $"Not all pods of attempt {status.Attempt} were ready within startupDeadlineSeconds, which is {job.Spec!.StartupDeadlineSeconds}. {why}"));
        }

        return null;
    }

    /// <summary>The failure of a job whose training does not move; null while it does, or need not.</summary>
    /// <param name="job">What was found.</param>
    public static NodeFailure? Hang(JobSnapshot job)
    {
        if (HangTime(job) is not { } time || job.Now < time)
        {
            return null;
        }

        DateTimeOffset since = time - TimeSpan.FromSeconds(job.Spec!.ProgressDeadlineSeconds!.Value);
        (int node, string suspicion) = Suspect(job);
        PodSnapshot? pod = job.CurrentPods.FirstOrDefault(p => p.Index == node);
        string step = job.Status.Progress?.Step is { } number
            ? string.Create(CultureInfo.InvariantCulture, $"after step {number}") : "before its first step";
        return new NodeFailure(node, FailureKind.Counted, job.Now, Reasons.Hang, string.Create(CultureInfo.InvariantCulture,
            $"training hangs {step}: no new one since {since.UtcDateTime:HH:mm:ss} UTC, which is longer than progressDeadlineSeconds ({job.Spec.ProgressDeadlineSeconds}); {NodeFailure.WithRanks(job, node, pod)} {suspicion}"), pod);
    }

    /// <summary>Time until the first of them; null when none counts.</summary>
    /// <param name="job">What was found.</param>
    public static TimeSpan? Next(JobSnapshot job)
    {
        DateTimeOffset? first = new[] { Active(job), Startup(job), HangTime(job) }.Min();
        return first - job.Now is { } wait && wait > TimeSpan.Zero ? wait : null;
    }

    private static DateTimeOffset? Active(JobSnapshot job) =>
        job.Spec?.ActiveDeadlineSeconds is { } seconds ? job.Status.ActiveStartTime + TimeSpan.FromSeconds(seconds) : null;

    private static DateTimeOffset? Startup(JobSnapshot job) =>
        job.Spec?.StartupDeadlineSeconds is { } seconds && job.Status.Attempt > 0 && job.Status.ReadyAttempt < job.Status.Attempt
            ? GangPlan.PlaceableSince(job.Status) + TimeSpan.FromSeconds(seconds) : null;

    private static DateTimeOffset? HangTime(JobSnapshot job)
    {
        if (job.Spec?.ProgressDeadlineSeconds is not { } seconds || !job.Spec.PullsProgress()
            || job.Status.Condition(ConditionTypes.Running) is not { Status: JobConditions.True, LastTransitionTime: { } running })
        {
            return null;
        }

        // What was written may be older than what was last heard, because not every step is worth a write.
        IEnumerable<DateTimeOffset?> signs =
            [running, job.Status.Progress?.UpdatedTime, job.MovedAt, .. job.CurrentPods.Select(p => p.FinishedAt)];
        return signs.Max() + TimeSpan.FromSeconds(seconds);
    }

    // A process that is stopped or stuck in a driver does not answer; otherwise the rank that is furthest behind is waited for.
    private static (int Node, string Suspicion) Suspect(JobSnapshot job)
    {
        KeyValuePair<int, long?>[] asked = [.. job.NodeSteps.Where(n => job.CurrentPods.Any(p => p.Index == n.Key && !p.IsFinished))
            .OrderBy(n => n.Key)];
        int[] silent = [.. asked.Where(n => n.Value is null).Select(n => n.Key)];
        if (silent.Length > 0 && silent.Length < Math.Max(2, asked.Length))
        {
            return (silent[0], silent.Length == 1 ? "does not answer" : $"does not answer, nor do nodes {NodeRanges.Format(silent.Skip(1))}");
        }

        if (silent.Length > 0)
        {
            return (0, "does not answer, nor does any other node");
        }

        return asked.Length > 0 && asked.MinBy(n => n.Value) is { } last && last.Value < asked.Max(n => n.Value)
            ? (last.Key, string.Create(CultureInfo.InvariantCulture, $"is furthest behind, at step {last.Value}"))
            : (0, "answers like all others; `kubectl logs` and a stack dump of its ranks may tell more");
    }
}

using System.Globalization;
using DeepSpeedSharp.Jobs;
using DeepSpeedSharp.Operator.Api.V1Alpha1;
using DeepSpeedSharp.Operator.Resources;

namespace DeepSpeedSharp.Operator.Planning;

/// <summary>How attempts begin.</summary>
internal static class JobStart
{
    /// <summary>The first status: all conditions are there, so that waiting for one never finds nothing.</summary>
    public static DeepSpeedJobStatus Initial(DeepSpeedJobStatus status, DateTimeOffset now)
    {
        string[] types =
        [
            ConditionTypes.Scheduled, ConditionTypes.Running, ConditionTypes.Restarting, ConditionTypes.Suspended,
            ConditionTypes.Complete, ConditionTypes.Failed,
        ];
        return types.Aggregate(status with { Phase = Phases.Pending },
            (s, type) => s.With(now, type, false, Reasons.NotStarted));
    }

    /// <summary>The next attempt, from the spec as it is now. Its pods are created in a later pass.</summary>
    public static DeepSpeedJobStatus Attempt(JobSnapshot job)
    {
        bool resumes = job.Status.IsSuspending() && job.Status.Attempt > 0;
        DeepSpeedJobStatus status = Next(job.Status, job) with
        {
            NextStartTime = null,
            Phase = Phases.Scheduling,
        };
        status = status.With(job.Now, ConditionTypes.Scheduled, false, Reasons.PodsNotCreated, "Pods are being created.");
        status = status.With(job.Now, ConditionTypes.Running, false, Reasons.NodesStarting);
        return job.Status.IsSuspending()
            ? status.With(job.Now, ConditionTypes.Suspended, false, resumes ? Reasons.Resumed : Reasons.Started)
            : status;
    }

    /// <summary>Numbers the next attempt and fixes what it is made from.</summary>
    /// <param name="status">The status to go on from.</param>
    /// <param name="job">What was found.</param>
    public static DeepSpeedJobStatus Next(DeepSpeedJobStatus status, JobSnapshot job)
    {
        DeepSpeedJobSpec spec = job.Spec!;
        int attempt = status.Attempt + 1;
        return status with
        {
            Attempt = attempt,
            SpecHash = SpecHash.Of(spec),
            Nodes = new NodeCounts { Desired = spec.Nodes() },
            NodesText = string.Create(CultureInfo.InvariantCulture, $"0/{spec.Nodes()}"),
            WorldSize = spec.WorldSize(),
            MasterAddress = string.Create(CultureInfo.InvariantCulture,
                $"{WorkerPods.HostName(job.Name, attempt, 0)}:{JobDefaults.MasterPort}"),
            SucceededNodes = null,
            StartTime = status.StartTime ?? job.Now,
            LastStartTime = job.Now,
        };
    }

    /// <summary>Whether the current attempt has run, so that starting over would lose work.</summary>
    public static bool HasRun(this DeepSpeedJobStatus status) =>
        status.CreatedAttempt == status.Attempt && status.Phase is Phases.Running or Phases.Complete or Phases.Failed
        || status.SucceededNodes is not null;

    /// <summary>Says what happens to an edit of a running job: it waits for the next start. An invalid edit never ends
    /// training that runs well.</summary>
    public static DeepSpeedJobStatus JudgeEdit(JobSnapshot job)
    {
        if (job.Problems.Count > 0)
        {
            return job.Status.With(job.Now, ConditionTypes.Stalled, true, Reasons.InvalidSpec,
                $"The job goes on as it was started; it will not start again: {JobEnd.Describe(job.Problems)}");
        }

        if (job.Spec is { } spec && job.Status.HasRun() && job.Status.SpecHash != SpecHash.Of(spec))
        {
            return job.Status.With(job.Now, ConditionTypes.Stalled, false, Reasons.SpecChanged,
                "The new spec applies when the job starts again; suspend and resume it to have that now.");
        }

        return job.Status.Condition(ConditionTypes.Stalled) is null
            ? job.Status : job.Status.With(job.Now, ConditionTypes.Stalled, false, Reasons.SpecIsValid);
    }
}

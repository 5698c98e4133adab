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
        DeepSpeedJobStatus status = Next(job.Status, job, job.Spec!.Nodes()) with
        {
            Resumes = job.Status.Resumes + (job.Status.Attempt > 0 ? 1 : 0),
            ActiveStartTime = resumes || job.Status.ActiveStartTime is null ? job.Now : job.Status.ActiveStartTime,
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
    /// <param name="most">Most nodes of an elastic job; others have as many as the spec says.</param>
    public static DeepSpeedJobStatus Next(DeepSpeedJobStatus status, JobSnapshot job, int most)
    {
        int attempt = status.Attempt + 1;
        ElasticStatus? elastic = null;
        DeepSpeedJobSpec spec = job.Spec!;
        if (spec.Elastic is not null)
        {
            // A config that cannot be had now fitted what it did when it was last read.
            IReadOnlyCollection<int> counts = job.ConfigWait is null
                ? [.. JobConfig.NodeCounts(job.Config, spec)] : [.. NodeRanges.Parse(status.Elastic?.NodeCounts)];
            int nodes = JobSize.Of(spec, counts, Math.Min(most, spec.Nodes()));
            elastic = (status.Elastic ?? new ElasticStatus()) with { NodeCounts = NodeRanges.Format(counts), Requested = spec.Nodes() };
            spec = spec with { NumNodes = nodes };
        }

        DeepSpeedJobStatus next = status with
        {
            Attempt = attempt,
            SpecHash = SpecHash.Of(spec),
            Elastic = elastic,
            Nodes = new NodeCounts { Desired = spec.Pods() },
            NodesText = string.Create(CultureInfo.InvariantCulture, $"0/{spec.Pods()}"),
            Replicas = 0,
            Selector = $"{JobLabels.JobName}={job.Name}",
            WorldSize = spec.WorldSize(),
            MasterAddress = string.Create(CultureInfo.InvariantCulture,
                $"{WorkerPods.HostName(job.Name, attempt, 0)}:{spec.Port()}"),
            SucceededNodes = null,
            StartTime = status.StartTime ?? job.Now,
            LastStartTime = job.Now,
        };
        return next with { Gang = GangPlan.Next(job, next, spec) };
    }

    /// <summary>Notes the config that the pods of the current attempt get, with all batch sizes and an estimate of memory.</summary>
    public static DeepSpeedJobStatus WithConfig(JobSnapshot job)
    {
        if (job.Config is not { } config || job.Spec is not { } spec || job.Status.Attempt == 0
            || job.Status.CreatedAttempt == job.Status.Attempt)
        {
            return job.Status;
        }

        spec = spec.At(job.Status);
        Config.BatchPlan? batch = JobConfig.Check(config, spec).Batch;
        return job.Status with
        {
            ConfigHash = Planning.SpecHash.OfText(config),
            Memory = JobMemory.Of(config, spec),
            Batch = batch is null ? null : new ResolvedBatch
            {
                TrainBatchSize = batch.TrainBatchSize,
                MicroBatchSize = batch.MicroBatchSize,
                GradientAccumulationSteps = batch.GradientAccumulationSteps,
            },
        };
    }

    /// <summary>Whether the current attempt has run, so that starting over would lose work. As long as pods of it have yet to be
    /// made it has not, even if one succeeded: they would be made of another spec.</summary>
    public static bool HasRun(this DeepSpeedJobStatus status) =>
        status.CreatedAttempt == status.Attempt
        && (status.Phase is Phases.Running or Phases.Complete or Phases.Failed || status.SucceededNodes is not null);

    /// <summary>Says what happens to an edit of a running job: it waits for the next start. An invalid edit never ends
    /// training that runs well.</summary>
    public static DeepSpeedJobStatus JudgeEdit(JobSnapshot job)
    {
        if (job.Problems.Count > 0)
        {
            return job.Status.With(job.Now, ConditionTypes.Stalled, true, Reasons.InvalidSpec,
                $"The job goes on as it was started; it will not start again: {JobEnd.Describe(job.Problems)}");
        }

        if (job.Spec is { } spec && job.Status.HasRun() && job.Status.SpecHash != (job.SpecHash ?? SpecHash.Of(spec)))
        {
            return job.Status.With(job.Now, ConditionTypes.Stalled, false, Reasons.SpecChanged,
                "The new spec applies when the job starts again; suspend and resume it to have that now.");
        }

        return job.Status.Condition(ConditionTypes.Stalled) is null
            ? job.Status : job.Status.With(job.Now, ConditionTypes.Stalled, false, Reasons.SpecIsValid);
    }
}

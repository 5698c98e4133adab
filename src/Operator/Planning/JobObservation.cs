using System.Globalization;
using DeepSpeedSharp.Jobs;
using DeepSpeedSharp.Operator.Api.V1Alpha1;
using DeepSpeedSharp.Operator.Progress;

namespace DeepSpeedSharp.Operator.Planning;

/// <summary>What the pods of the current attempt say about the job.</summary>
internal static class JobObservation
{
    /// <summary>Counts, conditions and phase of a job that goes on.</summary>
    /// <param name="job">What was found.</param>
    /// <param name="ending">Pods of older attempts that have not ended yet.</param>
    /// <param name="backoff">Time until the next start.</param>
    public static DeepSpeedJobStatus Of(JobSnapshot job, IReadOnlyList<PodSnapshot> ending, TimeSpan backoff)
    {
        DeepSpeedJobStatus status = Count(job);
        IReadOnlyList<PodSnapshot> pods = job.CurrentPods;
        NodeCounts nodes = status.Nodes!;
        status = Schedule(status, job, pods, nodes, ending, backoff);
        status = Run(status, job.Now, pods, nodes);
        bool isRunning = status.Is(ConditionTypes.Running);
        if (isRunning && status.Is(ConditionTypes.Restarting))
        {
            status = status.With(job.Now, ConditionTypes.Restarting, false, Reasons.AllNodesReady) with { NextStartTime = null };
        }

        return status with
        {
            // Once all pods were there, a missing one is a lost one.
            CreatedAttempt = nodes.Created == nodes.Desired ? status.Attempt : status.CreatedAttempt,
            ReadyAttempt = isRunning ? status.Attempt : status.ReadyAttempt,
            Elastic = isRunning && status.Elastic is { } elastic && elastic.GrowthAttempt == status.Attempt
                ? elastic with { FailedGrowths = 0 } : status.Elastic,
            Phase = isRunning ? Phases.Running
                : status.Is(ConditionTypes.Restarting) ? Phases.Restarting
                : nodes.Created == nodes.Desired && nodes.Scheduled == nodes.Desired ? Phases.Starting : Phases.Scheduling,
        };
    }

    /// <summary>Counts and progress only.</summary>
    public static DeepSpeedJobStatus Count(JobSnapshot job)
    {
        DeepSpeedJobStatus status = job.Status;
        if (status.Attempt == 0)
        {
            return status;
        }

        IReadOnlyList<PodSnapshot> pods = job.CurrentPods;
        IReadOnlySet<int> succeeded = job.Succeeded;
        HashSet<int> existing = [.. pods.Select(p => p.Index)];
        var nodes = new NodeCounts
        {
            Desired = job.Desired,
            Created = pods.Count + succeeded.Count(i => !existing.Contains(i)),
            Scheduled = pods.Count(p => p.ClusterNode is not null),
            Ready = pods.Count(p => p.IsReady && !p.IsFinished),
            Succeeded = succeeded.Count,
            Failed = pods.Count(p => p.IsFailed),
        };
        return status with
        {
            Nodes = nodes,
            NodesText = string.Create(CultureInfo.InvariantCulture, $"{nodes.Ready + nodes.Succeeded}/{nodes.Desired}"),
            Replicas = pods.Count,
            SucceededNodes = NodeRanges.Format(succeeded),
            Progress = Progress(job, pods),
        };
    }

    // The last word of rank 0 is in its termination message; until then it is asked.
    private static JobProgress? Progress(JobSnapshot job, IReadOnlyList<PodSnapshot> pods)
    {
        JobProgress? progress = job.Status.Progress;
        if (job.Progress is { } report)
        {
            progress = report.Onto(progress, job.Now);
        }

        return pods.FirstOrDefault(p => p.Index == 0 && p.IsFinished) is { } first
            && ProgressReport.Parse(first.TerminationMessage) is { } last ? last.Onto(progress, job.Now, isFinal: true) : progress;
    }

    private static DeepSpeedJobStatus Schedule(DeepSpeedJobStatus status, JobSnapshot job, IReadOnlyList<PodSnapshot> pods,
        NodeCounts nodes, IReadOnlyList<PodSnapshot> ending, TimeSpan backoff)
    {
        DateTimeOffset now = job.Now;
        PodSnapshot[] homeless = [.. pods.Where(p => p.ClusterNode is null && !p.IsFinished)];
        if (nodes.Created == nodes.Desired && homeless.Length == 0)
        {
            return status.With(now, ConditionTypes.Scheduled, true, Reasons.AllPodsScheduled);
        }

        if (homeless.FirstOrDefault(p => p.UnschedulableMessage is not null) is { } pod)
        {
            int count = homeless.Count(p => p.UnschedulableMessage is not null);
            return status.With(now, ConditionTypes.Scheduled, false, Reasons.Unschedulable,
                $"{count} of {nodes.Desired} pods found no place; {pod.Name}: {pod.UnschedulableMessage}");
        }

        if (ending.Count > 0)
        {
            return status.With(now, ConditionTypes.Scheduled, false, Reasons.WaitingForOldPods, Ending(job, ending));
        }

        if (backoff <= TimeSpan.Zero && GangPlan.Wait(job) is var (reason, message))
        {
            return status.With(now, ConditionTypes.Scheduled, false, reason, message);
        }

        // During the pause before a restart, the message of Restarting says what failed and when it goes on.
        return homeless.Length > 0
            ? status.With(now, ConditionTypes.Scheduled, false, Reasons.WaitingForScheduler,
                $"{homeless.Length} of {nodes.Desired} pods have no machine yet.")
            : status.With(now, ConditionTypes.Scheduled, false, Reasons.PodsNotCreated,
                backoff > TimeSpan.Zero ? null : "Pods are being created.");
    }

    private static string Ending(JobSnapshot job, IReadOnlyList<PodSnapshot> ending)
    {
        string count = ending.Count == 1 ? "1 pod of an earlier attempt is" : $"{ending.Count} pods of an earlier attempt are";
        return ending.FirstOrDefault(p => p.ClusterNode is { } machine && job.NotReady.ContainsKey(machine)) is { ClusterNode: { } silent } lost
            ? string.Create(CultureInfo.InvariantCulture,
                $"{count} still ending; {lost.Name} is on {silent}, which does not answer, and is given up at {(job.NotReady[silent].Since + job.Spec.NodeLoss()).UtcDateTime:HH:mm:ss} UTC.")
            : $"{count} still ending, for example {ending[0].Name}.";
    }

    private static DeepSpeedJobStatus Run(DeepSpeedJobStatus status, DateTimeOffset now, IReadOnlyList<PodSnapshot> pods, NodeCounts nodes)
    {
        if (nodes.Ready + nodes.Succeeded == nodes.Desired)
        {
            return status.With(now, ConditionTypes.Running, true, Reasons.AllNodesReady);
        }

        // One node that ends does not stop the others, and what follows is decided elsewhere.
        if (status.Is(ConditionTypes.Running) && pods.Any(p => p.IsFinished || p.DeletedAt is not null))
        {
            return status;
        }

        PodSnapshot[] waiting = [.. pods.Where(p => p.WaitingReason is not null and not "ContainerCreating" and not "PodInitializing")];
        if (waiting.Length > 0)
        {
            PodSnapshot first = waiting[0];
            return status.With(now, ConditionTypes.Running, false, first.WaitingReason!,
                $"{waiting.Length} of {nodes.Desired} pods cannot start; {first.Name}: {first.WaitingMessage ?? first.WaitingReason}");
        }

        return status.With(now, ConditionTypes.Running, false, Reasons.NodesStarting,
            $"{nodes.Ready} of {nodes.Desired} nodes are ready.");
    }
}

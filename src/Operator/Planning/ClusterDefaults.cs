using DeepSpeedSharp.Config;
using DeepSpeedSharp.Jobs;
using DeepSpeedSharp.Operator.Resources;

namespace DeepSpeedSharp.Operator.Planning;

/// <summary>What jobs of this cluster get that do not say it themselves. The administrator's, and so not in the CRD.</summary>
internal sealed record ClusterDefaults
{
    /// <summary>Image of the container that trains; null for none.</summary>
    public string? TrainerImage { get; init; }

    /// <summary>Largest size of /dev/shm; null for half of the memory limit.</summary>
    public string? SharedMemory { get; init; }

    /// <summary>Scheduler of the pods; null for the cluster's own.</summary>
    public string? SchedulerName { get; init; }

    /// <summary>Gang scheduler of jobs that name none.</summary>
    public GangScheduler Gang { get; init; }

    /// <summary>When pods of a machine that does not answer count as lost; null for the usual time.</summary>
    public int? NodeLossSeconds { get; init; }

    /// <summary>Seconds that a pod gets to save its last checkpoint; null for the usual time.</summary>
    public int? CheckpointGracePeriodSeconds { get; init; }

    /// <summary>The spec with the defaults where it says nothing; the same object when nothing changes.</summary>
    /// <param name="spec">The spec as it is written.</param>
    /// <param name="queue">Queue of Kueue's that a label of the job names; null without.</param>
    public DeepSpeedJobSpec Over(DeepSpeedJobSpec spec, string? queue = null)
    {
        DeepSpeedJobSpec result = GangPlan.Effective(spec, queue, Gang);
        if (TrainerImage is not null && string.IsNullOrWhiteSpace(spec.Image) && PodTemplate.Trainer(spec.Template)?["image"] is null)
        {
            result = result with { Image = TrainerImage };
        }

        if (SharedMemory is not null && (spec.Shm is null || (spec.Shm.Enabled != false && spec.Shm.SizeLimit is null)))
        {
            result = result with { Shm = (spec.Shm ?? new()) with { SizeLimit = new Quantity(SharedMemory) } };
        }

        // A gang scheduler has its own.
        if (SchedulerName is not null && result.SchedulerName() is null)
        {
            result = result with { Scheduling = (result.Scheduling ?? new()) with { SchedulerName = SchedulerName } };
        }

        if (NodeLossSeconds is not null && spec.Restart?.NodeLossSeconds is null)
        {
            result = result with { Restart = (spec.Restart ?? new()) with { NodeLossSeconds = NodeLossSeconds } };
        }

        return CheckpointGracePeriodSeconds is not null && spec.Checkpoint is { GracePeriodSeconds: null } checkpoint
            ? result with { Checkpoint = checkpoint with { GracePeriodSeconds = CheckpointGracePeriodSeconds } } : result;
    }

    /// <summary>Adds a problem for each value that no job may have.</summary>
    public void Check(ConfigErrors errors)
    {
        // The rules of jobs, with image and queue as the only things that are not the administrator's.
        DeepSpeedJobSpec spec = Over(new DeepSpeedJobSpec { Image = TrainerImage ?? "image", Checkpoint = new CheckpointSpec { ClaimName = "claim" } }, "queue");
        errors.AddAll("defaults", ClusterRules.Check("job", spec));
    }
}

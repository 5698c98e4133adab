using DeepSpeedSharp.Operator.Api.V1Alpha1;
using Prometheus;

namespace DeepSpeedSharp.Operator;

/// <summary>What Prometheus is told of each job: computed from its status when somebody asks, and gone with the job.</summary>
/// <remarks>Labels are namespace and name, and words of fixed sets: neither an attempt nor a pod makes new series.</remarks>
internal sealed class JobMetrics
{
    private static readonly string[] States = ["desired", "scheduled", "ready", "succeeded", "failed"];

    private readonly Gauge _phase, _nodes, _ranks, _restarts, _disruptions, _queued, _progress, _step, _checkpoint;
    private readonly Gauge[] _perJob;
    private HashSet<(string Namespace, string Name)> _known = [];

    /// <summary>Creates the metrics.</summary>
    /// <param name="factory">Where they are registered.</param>
    public JobMetrics(MetricFactory factory)
    {
        _phase = factory.CreateGauge("deepspeedjob_status_phase", "1 for the phase that the job is in, 0 for the others.", "namespace", "name", "phase");
        _nodes = factory.CreateGauge("deepspeedjob_nodes", "Pods of the current attempt by state.", "namespace", "name", "state");
        _ranks = PerJob("deepspeedjob_world_size", "Ranks of the job.");
        _restarts = PerJob("deepspeedjob_restarts", "Restarts that count towards spec.restart.maxRestarts.");
        _disruptions = PerJob("deepspeedjob_disruptions", "Restarts that do not count: pods deleted, evicted or lost with their machine.");
        _queued = PerJob("deepspeedjob_queued", "1 while the queue of a gang scheduler holds the job's pods back.");
        _progress = PerJob("deepspeedjob_progress_ratio", "Share of the training steps that is done, 0 to 1.");
        _step = PerJob("deepspeedjob_step", "Optimizer steps done, as the operator last heard.");
        _checkpoint = PerJob("deepspeedjob_last_checkpoint_timestamp_seconds", "When the last complete checkpoint was saved.");
        _perJob = [_ranks, _restarts, _disruptions, _queued, _progress, _step, _checkpoint];

        Gauge PerJob(string name, string help) => factory.CreateGauge(name, help, "namespace", "name");
    }

    /// <summary>Sets the series of these jobs, and drops those of all others.</summary>
    /// <param name="jobs">All jobs.</param>
    public void Set(IReadOnlyList<DeepSpeedJob> jobs)
    {
        HashSet<(string, string)> now = [];
        foreach (DeepSpeedJob job in jobs)
        {
            (string ns, string name) = (job.Metadata.NamespaceProperty, job.Metadata.Name);
            _ = now.Add((ns, name));
            Set(ns, name, job.Status);
        }

        foreach ((string ns, string name) in _known.Except(now))
        {
            Remove(ns, name);
        }

        _known = now;
    }

    private void Set(string ns, string name, DeepSpeedJobStatus status)
    {
        string current = status.Phase ?? Phases.Pending;
        foreach (string phase in Phases.All)
        {
            _phase.WithLabels(ns, name, phase).Set(phase == current ? 1 : 0);
        }

        NodeCounts nodes = status.Nodes ?? new NodeCounts();
        int[] counts = [nodes.Desired, nodes.Scheduled, nodes.Ready, nodes.Succeeded, nodes.Failed];
        for (int i = 0; i < States.Length; i++)
        {
            _nodes.WithLabels(ns, name, States[i]).Set(counts[i]);
        }

        _restarts.WithLabels(ns, name).Set(status.Restarts);
        _disruptions.WithLabels(ns, name).Set(status.Disruptions);
        bool isQueued = status.Condition(ConditionTypes.Scheduled) is { Status: JobConditions.False, Reason: Reasons.QueuedByKueue or Reasons.WaitingForGang };
        _queued.WithLabels(ns, name).Set(isQueued && !status.IsFinished() ? 1 : 0);
        SetOrRemove(_ranks, status.WorldSize);
        SetOrRemove(_progress, status.Progress?.Percent / 100.0);
        SetOrRemove(_step, status.Progress?.Step);
        SetOrRemove(_checkpoint, status.Progress?.LastCheckpointTime?.ToUnixTimeSeconds());

        // What is not known yet is absent: a 0 would look like a checkpoint of 1970.
        void SetOrRemove(Gauge gauge, double? value)
        {
            if (value is { } known)
            {
                gauge.WithLabels(ns, name).Set(known);
            }
            else
            {
                gauge.RemoveLabelled(ns, name);
            }
        }
    }

    private void Remove(string ns, string name)
    {
        foreach (string phase in Phases.All)
        {
            _phase.RemoveLabelled(ns, name, phase);
        }

        foreach (string state in States)
        {
            _nodes.RemoveLabelled(ns, name, state);
        }

        foreach (Gauge gauge in _perJob)
        {
            gauge.RemoveLabelled(ns, name);
        }
    }
}

using DeepSpeedSharp.Operator.Api.V1Alpha1;
using DeepSpeedSharp.Operator.Runtime;
using Prometheus;

namespace DeepSpeedSharp.Operator;

/// <summary>What the operator tells Prometheus. Names of the runtime's metrics are those that dashboards already know.</summary>
/// <remarks>An own registry, because the default one also publishes every meter of .NET under names without units.</remarks>
internal sealed class OperatorMetrics
{
    private static readonly string[] Causes = ["application", "hang", "disruption", "node_lost", "resize"];

    private static readonly (string Result, string Reason)[] Ends =
    [
        ("complete", Reasons.AllNodesSucceeded), ("complete", Reasons.Rank0Succeeded),
        .. new[]
        {
            Reasons.InvalidSpec, Reasons.WorkerRefused, Reasons.MaxRestartsExceeded, Reasons.MaxDisruptionsExceeded, Reasons.RuleFailJob,
            Reasons.RestartPolicyNever, Reasons.DeadlineExceeded, Reasons.StartupDeadlineExceeded,
        }.Select(reason => ("failed", reason)),
    ];

    private readonly Counter _restarts;
    private readonly Counter _finished;
    private readonly Counter _podsCreated;
    private readonly Gauge _jobs;
    private readonly Histogram _timeToRunning;
    private readonly Histogram _restartDuration;
    private readonly Histogram _runDuration;
    private readonly Histogram _decision;
    private readonly JobMetrics _perJob;

    /// <summary>Creates all metrics, so that they are there before the first event.</summary>
    public OperatorMetrics()
    {
        DotNetStats.Register(Registry);
        MetricFactory factory = Metrics.WithCustomRegistry(Registry);
        _jobs = factory.CreateGauge("deepspeedjob_jobs", "DeepSpeedJobs by phase.", "namespace", "phase");
        _restarts = factory.CreateCounter("deepspeedjob_restarts_total",
            "Restarts of all pods of a job; cause is application, hang, disruption, node_lost or resize.", "namespace", "cause");
        _finished = factory.CreateCounter("deepspeedjob_finished_total",
            "Jobs that ended; result is complete or failed.", "namespace", "result", "reason");
        _podsCreated = factory.CreateCounter("deepspeedjob_pods_created_total", "Worker pods created.");
        _timeToRunning = factory.CreateHistogram("deepspeedjob_time_to_running_seconds",
            "From the creation of a job to the first time that all of its nodes run.",
            ["namespace"], new HistogramConfiguration { Buckets = [1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600, 14400] });
        _restartDuration = factory.CreateHistogram("deepspeedjob_restart_duration_seconds",
            "From a failure or resize that was noticed to the time that all nodes run again, back-off included.",
            ["namespace"], new HistogramConfiguration { Buckets = [1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600, 14400] });
        _runDuration = factory.CreateHistogram("deepspeedjob_run_duration_seconds", "From the start of a job to its end; result is complete or failed.",
            ["namespace", "result"], new HistogramConfiguration { Buckets = [60, 300, 1800, 3600, 14400, 43200, 86400, 259200, 604800, 2592000] });
        _decision = factory.CreateHistogram("deepspeedjob_decision_seconds", "Time a pass takes to decide, without the API server.",
            new HistogramConfiguration { Buckets = [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1] });
        _perJob = new JobMetrics(factory);
        Runtime = new RuntimeMetrics(Registry, OperatorHost.ControllerName);
    }

    /// <summary>The metrics that any controller has.</summary>
    public RuntimeMetrics Runtime { get; }

    /// <summary>The metrics, for the endpoint.</summary>
    public CollectorRegistry Registry { get; } = Metrics.NewCustomRegistry();

    /// <summary>Computes the gauges whenever somebody looks.</summary>
    /// <param name="jobs">All jobs.</param>
    public void ComputeGaugesFrom(Func<IReadOnlyList<DeepSpeedJob>> jobs) =>
        Registry.AddBeforeCollectCallback(() =>
        {
            IReadOnlyList<DeepSpeedJob> all = jobs();
            _perJob.Set(all);
            ILookup<(string Namespace, string Phase), DeepSpeedJob> groups =
                all.ToLookup(j => (j.Metadata.NamespaceProperty, j.Status.Phase ?? Phases.Pending));
            foreach (string ns in groups.Select(g => g.Key.Namespace).Concat(_jobs.GetAllLabelValues().Select(l => l[0])).Distinct())
            {
                foreach (string phase in Phases.All)
                {
                    _jobs.WithLabels(ns, phase).Set(groups[(ns, phase)].Count());
                }

                BeginCounting(ns);
            }
        });

    /// <summary>Notes how long a decision took.</summary>
    public void Decided(TimeSpan duration) => _decision.Observe(duration.TotalSeconds);

    // From the first job of a namespace on, because the increase of a series that begins with its first event misses that one.
    private void BeginCounting(string ns)
    {
        foreach (string cause in Causes)
        {
            _ = _restarts.WithLabels(ns, cause);
        }

        foreach ((string result, string reason) in Ends)
        {
            _ = _finished.WithLabels(ns, result, reason);
        }

        _ = _timeToRunning.WithLabels(ns);
    }

    /// <summary>Counts created pods.</summary>
    public void PodsCreated(int count) => _podsCreated.Inc(count);

    /// <summary>Counts what a status write says for the first time.</summary>
    /// <param name="job">The job as it was before.</param>
    /// <param name="after">Its new status.</param>
    /// <param name="now">The time.</param>
    public void StatusWritten(DeepSpeedJob job, DeepSpeedJobStatus after, DateTimeOffset now)
    {
        (string ns, DeepSpeedJobStatus before) = (job.Metadata.NamespaceProperty, job.Status);
        if (after.Attempt == 1 && after.Is(ConditionTypes.Running) && !before.Is(ConditionTypes.Running)
            && job.Metadata.CreationTimestamp is { } created)
        {
            _timeToRunning.WithLabels(ns).Observe((now - created).TotalSeconds);
        }

        // The condition still has the time at which it became true.
        if (before.Condition(ConditionTypes.Restarting) is { Status: JobConditions.True, LastTransitionTime: { } since }
            && after.Is(ConditionTypes.Running) && !after.Is(ConditionTypes.Restarting))
        {
            _restartDuration.WithLabels(ns).Observe((now - since).TotalSeconds);
        }

        if (after.Attempt > before.Attempt && after.Condition(ConditionTypes.Restarting) is { Status: JobConditions.True } restarting)
        {
            _restarts.WithLabels(ns, restarting.Reason switch
            {
                Reasons.Hang => "hang",
                Reasons.NodeLost => "node_lost",
                Reasons.Resize => "resize",
                Reasons.Disruption => "disruption",
                _ => "application",
            }).Inc();
        }

        if (after.IsFinished() && !before.IsFinished())
        {
            bool complete = after.Is(ConditionTypes.Complete);
            string type = complete ? ConditionTypes.Complete : ConditionTypes.Failed;
            string result = complete ? "complete" : "failed";
            _finished.WithLabels(ns, result, after.Condition(type)!.Reason).Inc();
            if (after.StartTime is { } started)
            {
                _runDuration.WithLabels(ns, result).Observe((now - started).TotalSeconds);
            }
        }
    }
}

using DeepSpeedSharp.Operator.Api.V1Alpha1;
using Prometheus;

namespace DeepSpeedSharp.Operator;

/// <summary>What the operator tells Prometheus. Names of the runtime's metrics are those that dashboards already know.</summary>
/// <remarks>An own registry, because the default one also publishes every meter of .NET under names without units.</remarks>
internal sealed class OperatorMetrics
{
    private readonly Counter _restarts;
    private readonly Counter _finished;
    private readonly Counter _podsCreated;
    private readonly Counter _reconciles;
    private readonly Histogram _reconcileTime;
    private readonly Gauge _jobs;
    private readonly Gauge _queueDepth;

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
        _queueDepth = factory.CreateGauge("workqueue_depth", "Objects that wait for a pass.", "name", "controller");
        _reconciles = factory.CreateCounter("controller_runtime_reconcile_total",
            "Passes by result: success, requeue, requeue_after or error.", "controller", "result");
        _reconcileTime = factory.CreateHistogram("controller_runtime_reconcile_time_seconds", "Duration of a pass.",
            ["controller"], new HistogramConfiguration { Buckets = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60] });
        foreach (string result in new[] { "success", "requeue", "requeue_after", "error" })
        {
            _reconciles.WithLabels(OperatorHost.ControllerName, result);
        }

        _reconcileTime.WithLabels(OperatorHost.ControllerName);
    }

    /// <summary>The metrics, for the endpoint.</summary>
    public CollectorRegistry Registry { get; } = Metrics.NewCustomRegistry();

    /// <summary>Computes the gauges whenever somebody looks.</summary>
    /// <param name="jobs">All jobs.</param>
    /// <param name="queued">Objects that wait for a pass.</param>
    public void ComputeGaugesFrom(Func<IReadOnlyList<DeepSpeedJob>> jobs, Func<int> queued) =>
        Registry.AddBeforeCollectCallback(() =>
        {
            _queueDepth.WithLabels(OperatorHost.ControllerName, OperatorHost.ControllerName).Set(queued());
            ILookup<(string Namespace, string Phase), DeepSpeedJob> groups =
                jobs().ToLookup(j => (j.Metadata.NamespaceProperty, j.Status.Phase ?? Phases.Pending));
            foreach (string ns in groups.Select(g => g.Key.Namespace).Concat(_jobs.GetAllLabelValues().Select(l => l[0])).Distinct())
            {
                foreach (string phase in Phases.All)
                {
                    _jobs.WithLabels(ns, phase).Set(groups[(ns, phase)].Count());
                }
            }
        });

    /// <summary>Counts one pass.</summary>
    public void Reconciled(string controller, string result, TimeSpan duration)
    {
        _reconciles.WithLabels(controller, result).Inc();
        _reconcileTime.WithLabels(controller).Observe(duration.TotalSeconds);
    }

    /// <summary>Counts created pods.</summary>
    public void PodsCreated(int count) => _podsCreated.Inc(count);

    /// <summary>Counts what a status write says for the first time.</summary>
    public void StatusWritten(string ns, DeepSpeedJobStatus before, DeepSpeedJobStatus after)
    {
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
            _finished.WithLabels(ns, complete ? "complete" : "failed", after.Condition(type)!.Reason).Inc();
        }
    }
}

using Prometheus;

namespace DeepSpeedSharp.Operator.Runtime;

/// <summary>The metrics of a controller, under the names of controller-runtime, so that dashboards for Go operators work.</summary>
/// <remarks>Known label values are there from the start: a rate over a series that begins with its first event misses it.</remarks>
internal sealed class RuntimeMetrics
{
    private static readonly string[] Results = ["success", "requeue", "requeue_after", "error"];

    private readonly string _controller;
    private readonly Counter _reconciles;
    private readonly Counter.Child _errors;
    private readonly Counter.Child _panics;
    private readonly Counter.Child _timeouts;
    private readonly Histogram.Child _reconcileTime;
    private readonly Gauge.Child _active;
    private readonly Gauge.Child _most;
    private readonly Gauge.Child _depth;
    private readonly Counter.Child _adds;
    private readonly Counter.Child _retries;
    private readonly Histogram.Child _queueTime;
    private readonly Histogram.Child _workTime;
    private readonly Gauge.Child _unfinished;
    private readonly Gauge.Child _longest;
    private readonly Counter _requests;
    private readonly Histogram _requestTime;
    private readonly Gauge _leader;

    /// <summary>Creates all metrics.</summary>
    /// <param name="registry">Where they are served.</param>
    /// <param name="controller">Name of the controller, which is also that of its queue.</param>
    public RuntimeMetrics(CollectorRegistry registry, string controller)
    {
        _controller = controller;
        MetricFactory factory = Metrics.WithCustomRegistry(registry);
        _reconciles = factory.CreateCounter("controller_runtime_reconcile_total",
            "Passes by result: success, requeue, requeue_after or error.", "controller", "result");
        foreach (string result in Results)
        {
            _reconciles.WithLabels(controller, result);
        }

        _errors = Count("controller_runtime_reconcile_errors_total", "Passes that failed.");
        Count("controller_runtime_terminal_reconcile_errors_total", "Passes that failed and are not tried again; this operator always tries again.");
        _panics = Count("controller_runtime_reconcile_panics_total", "Passes that failed in a way that nobody foresaw.");
        _timeouts = Count("controller_runtime_reconcile_timeouts_total", "Passes that took too long.");
        _reconcileTime = factory.CreateHistogram("controller_runtime_reconcile_time_seconds", "Duration of a pass.",
            ["controller"], new HistogramConfiguration { Buckets = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60] })
            .WithLabels(controller);
        _active = Gauge("controller_runtime_active_workers", "Passes that run now.");
        _most = Gauge("controller_runtime_max_concurrent_reconciles", "Passes that may run at a time.");
        _depth = QueueGauge("workqueue_depth", "Objects that wait for a pass.");
        _adds = factory.CreateCounter("workqueue_adds_total", "Objects added to the queue.", "name", "controller").WithLabels(controller, controller);
        _retries = factory.CreateCounter("workqueue_retries_total", "Passes that are tried again.", "name", "controller").WithLabels(controller, controller);
        _queueTime = QueueTime("workqueue_queue_duration_seconds", "Time an object waits for its pass.");
        _workTime = QueueTime("workqueue_work_duration_seconds", "Time a pass takes.");
        _unfinished = QueueGauge("workqueue_unfinished_work_seconds", "Time that all running passes took so far.");
        _longest = QueueGauge("workqueue_longest_running_processor_seconds", "Time that the longest running pass took so far.");
        _requests = factory.CreateCounter("rest_client_requests_total", "Requests to the API server.", "code", "method", "host");
        _requestTime = factory.CreateHistogram("rest_client_request_duration_seconds", "Duration of a request to the API server.",
            ["verb", "host"], new HistogramConfiguration { Buckets = [0.005, 0.025, 0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60] });
        _leader = factory.CreateGauge("leader_election_master_status", "1 when this process leads.", "name");

        Counter.Child Count(string name, string help) => factory.CreateCounter(name, help, "controller").WithLabels(controller);
        Gauge.Child Gauge(string name, string help) => factory.CreateGauge(name, help, "controller").WithLabels(controller);
        Gauge.Child QueueGauge(string name, string help) => factory.CreateGauge(name, help, "name", "controller").WithLabels(controller, controller);
        Histogram.Child QueueTime(string name, string help) => factory.CreateHistogram(name, help, ["name", "controller"],
            new HistogramConfiguration { Buckets = Histogram.ExponentialBuckets(1e-8, 10, 12) }).WithLabels(controller, controller);
    }

    /// <summary>Computes the gauges of a queue whenever somebody looks.</summary>
    public void Observe(CollectorRegistry registry, WorkQueue<string> queue) => registry.AddBeforeCollectCallback(() =>
    {
        (int depth, TimeSpan all, TimeSpan longest) = queue.Load();
        _depth.Set(depth);
        _unfinished.Set(all.TotalSeconds);
        _longest.Set(longest.TotalSeconds);
    });

    /// <summary>Notes how many passes may run at a time.</summary>
    public void Workers(int count) => _most.Set(count);

    /// <summary>Counts an object that was added to the queue.</summary>
    public void Added() => _adds.Inc();

    /// <summary>Counts a pass that is tried again.</summary>
    public void Retried() => _retries.Inc();

    /// <summary>Notes that a pass begins.</summary>
    /// <param name="waited">Time its object waited.</param>
    public void Began(TimeSpan waited)
    {
        _queueTime.Observe(waited.TotalSeconds);
        _active.Inc();
    }

    /// <summary>Notes that a pass is over.</summary>
    /// <param name="result">success, requeue, requeue_after or error.</param>
    /// <param name="duration">Time it took.</param>
    /// <param name="timedOut">Whether it was ended because it took too long.</param>
    /// <param name="unforeseen">Whether it failed in a way that nobody foresaw.</param>
    public void Reconciled(string result, TimeSpan duration, bool timedOut = false, bool unforeseen = false)
    {
        _active.Dec();
        _reconciles.WithLabels(_controller, result).Inc();
        _errors.Inc(result == "error" ? 1 : 0);
        _timeouts.Inc(timedOut ? 1 : 0);
        _panics.Inc(unforeseen ? 1 : 0);
        _reconcileTime.Observe(duration.TotalSeconds);
        _workTime.Observe(duration.TotalSeconds);
    }

    /// <summary>Notes a request to the API server.</summary>
    public void Requested(string method, string host, string code, TimeSpan duration)
    {
        _requests.WithLabels(code, method, host).Inc();
        _requestTime.WithLabels(method, host).Observe(duration.TotalSeconds);
    }

    /// <summary>Notes whether this process leads.</summary>
    public void Leads(string lease, bool leads) => _leader.WithLabels(lease).Set(leads ? 1 : 0);
}

/// <summary>Counts and times requests to the API server.</summary>
/// <param name="metrics">Receives them.</param>
/// <param name="time">Clock.</param>
internal sealed class RequestMetricsHandler(RuntimeMetrics metrics, TimeProvider time) : DelegatingHandler
{
    /// <inheritdoc/>
    protected override async Task<HttpResponseMessage> SendAsync(HttpRequestMessage request, CancellationToken cancellationToken)
    {
        long begin = time.GetTimestamp();
        string code = "<error>";
        try
        {
            HttpResponseMessage response = await base.SendAsync(request, cancellationToken);
            code = ((int)response.StatusCode).ToString(System.Globalization.CultureInfo.InvariantCulture);
            return response;
        }
        finally
        {
            metrics.Requested(request.Method.Method, request.RequestUri?.Authority ?? "", code, time.GetElapsedTime(begin));
        }
    }
}

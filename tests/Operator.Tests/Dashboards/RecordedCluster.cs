using DeepSpeedSharp.Operator.Api.V1Alpha1;
using DeepSpeedSharp.Operator.Runtime;
using k8s.Models;
using Prometheus;

namespace DeepSpeedSharp.Operator.Tests.Dashboards;

/// <summary>Three hours of a cluster: the operator's own metrics while jobs come, wait, fail and end, and those of four nodes that
/// train one of them. Metrics are served by the code that serves them in a cluster; the worker's by the names of its source.</summary>
internal static class RecordedCluster
{
    public const string Namespace = "research";
    public const string Job = "llm-7b";

    public static readonly DateTimeOffset Begin = new(2026, 1, 5, 9, 0, 0, TimeSpan.Zero);
    public static readonly TimeSpan Step = TimeSpan.FromSeconds(30);
    public static readonly TimeSpan Length = TimeSpan.FromHours(3);

    /// <summary>The end, where somebody looks at the dashboards.</summary>
    public static DateTimeOffset End => Begin + Length;

    /// <summary>Jobs that run at the end.</summary>
    public static int RunningAtTheEnd { get; private set; }

    public static async Task<Recording> RecordAsync()
    {
        var recording = new Recording();
        var random = new Random(7);
        var metrics = new OperatorMetrics();
        RecordedJob[] jobs = [new(Namespace, Job, 3, 4, random) { FailsAt = 95 }, .. Others(random)];
        var standby = new OperatorMetrics(); // a replica that does not lead serves the gauges of all jobs too
        using var queue = new WorkQueue<string>(TimeProvider.System, TimeSpan.FromSeconds(1), TimeSpan.FromSeconds(1));
        metrics.Runtime.Observe(metrics.Registry, queue);
        metrics.ComputeGaugesFrom(() => [.. jobs.Where(j => j.Exists).Select(j => j.State)]);
        standby.ComputeGaugesFrom(() => [.. jobs.Where(j => j.Exists).Select(j => j.State)]);
        RecordedWorker[] workers = [.. Enumerable.Range(0, 4).Select(i => new RecordedWorker(i))];
        for (DateTimeOffset now = Begin; now <= End; now += Step)
        {
            double minute = (now - Begin).TotalMinutes;
            int passes = 0;
            foreach (RecordedJob job in jobs)
            {
                passes += job.Advance(metrics, now, minute);
            }

            for (int i = 0; i < passes + 3; i++)
            {
                metrics.Runtime.Began(TimeSpan.FromMilliseconds(1));
                metrics.Runtime.Reconciled(i % 4 == 0 ? "requeue_after" : i == 30 ? "requeue" : "success", TimeSpan.FromMilliseconds(2 + 40 * random.NextDouble() * random.NextDouble()));
            }

            if (minute is > 118 and < 121)
            {
                metrics.Runtime.Began(TimeSpan.FromMilliseconds(1));
                metrics.Runtime.Reconciled("error", TimeSpan.FromSeconds(1.5));
            }

            int waiting = passes > 8 ? random.Next(1, passes) : random.Next(0, 2);
            for (int i = 0; i < waiting; i++)
            {
                queue.Add($"{Namespace}/{i}");
            }

            await recording.AddAsync(metrics.Registry, "job=\"deepspeed-operator\",pod=\"deepspeed-operator-0\"", now);
            await recording.AddAsync(standby.Registry, "job=\"deepspeed-operator\",pod=\"deepspeed-operator-1\"", now);
            while (!queue.IsIdle)
            {
                queue.Done(await queue.TakeAsync(TestContext.Current.CancellationToken));
            }

            if (jobs[0].IsRunning)
            {
                foreach (RecordedWorker worker in workers)
                {
                    worker.Train(minute, jobs[0].Attempt, Step.TotalSeconds);
                    string pod = $"namespace=\"{Namespace}\",pod=\"{Job}-{jobs[0].Attempt}-{worker.Node}\"";
                    await recording.AddAsync(worker.Registry, $"{pod},job_name=\"{Job}\",node_rank=\"{worker.Node}\"", now);
                    for (int gpu = 0; gpu < 8; gpu++)
                    {
                        recording.Add("DCGM_FI_DEV_GPU_UTIL", $"{pod},gpu=\"{gpu}\"", 88 + random.Next(0, 11), now);
                    }
                }
            }
            else
            {
                Array.ForEach(workers, w => w.Restart());
            }
        }

        RunningAtTheEnd = jobs.Count(j => j.IsRunning);
        return recording;
    }

    private static IEnumerable<RecordedJob> Others(Random random)
    {
        for (int i = 0; i < 14; i++)
        {
            double begin = 4 + i * 11 + random.Next(0, 6);
            yield return new RecordedJob(i % 3 == 0 ? "vision" : Namespace, $"sweep-{i}", begin, 2 + i % 3, random)
            {
                EndsAt = begin + 25 + random.Next(0, 40),
                FailsAt = i % 4 == 1 ? begin + 14 : null,
                DisruptedAt = i % 5 == 2 ? begin + 9 : null,
                IsLost = i is 5 or 9,
            };
        }
    }
}

/// <summary>A job of the recording: its status over time, as the operator would write it.</summary>
internal sealed class RecordedJob(string ns, string name, double begin, int nodes, Random random)
{
    private const int TotalSteps = 6000;

    private readonly double _starts = begin + 1 + random.Next(1, 5);
    private double _runsFrom = double.NaN;
    private DeepSpeedJobStatus _status = new();

    public double EndsAt { get; init; } = double.PositiveInfinity;

    public double? FailsAt { get; init; }

    public double? DisruptedAt { get; init; }

    public bool IsLost { get; init; }

    public bool Exists { get; private set; }

    public bool IsRunning => _status.Phase == Phases.Running;

    public int Attempt => _status.Attempt;

    public DeepSpeedJob State => new()
    {
        Metadata = new V1ObjectMeta { Name = name, NamespaceProperty = ns, CreationTimestamp = RecordedCluster.Begin.UtcDateTime.AddMinutes(begin) },
        Status = _status,
    };

    /// <summary>Brings the status to a time.</summary>
    /// <returns>How many passes that took.</returns>
    public int Advance(OperatorMetrics metrics, DateTimeOffset now, double minute)
    {
        if (minute < begin)
        {
            return 0;
        }

        Exists = true;
        if (_status.IsFinished())
        {
            return 0;
        }

        DeepSpeedJobStatus next = Next(now, minute);
        if (next == _status)
        {
            return 1;
        }

        if (next.Attempt > _status.Attempt)
        {
            metrics.PodsCreated(nodes);
        }

        metrics.StatusWritten(State, next, now);
        _status = next;
        return nodes + 2;
    }

    private DeepSpeedJobStatus Next(DateTimeOffset now, double minute)
    {
        if (_status.Attempt == 0)
        {
            return With(1, Phases.Scheduling, ready: 0) with { WorldSize = nodes * 8 };
        }

        if (IsRunning && minute >= EndsAt)
        {
            return With(_status.Attempt, Phases.Complete, ready: 0).With(now, ConditionTypes.Complete, true, Reasons.AllNodesSucceeded)
                .With(now, ConditionTypes.Running, false, Reasons.Finished);
        }

        if (IsRunning && ((minute >= FailsAt && _status.Restarts == 0) || (minute >= DisruptedAt && _status.Disruptions == 0)))
        {
            bool counts = minute >= FailsAt && _status.Restarts == 0;
            if (counts && IsLost)
            {
                return With(_status.Attempt, Phases.Failed, ready: 0).With(now, ConditionTypes.Failed, true, Reasons.WorkerRefused);
            }

            _runsFrom = minute + 2.5;
            return (With(_status.Attempt + 1, Phases.Restarting, ready: 0) with
            {
                Restarts = _status.Restarts + (counts ? 1 : 0),
                Disruptions = _status.Disruptions + (counts ? 0 : 1),
            }).With(now, ConditionTypes.Restarting, true, counts ? Reasons.NodeFailed : Reasons.Disruption).With(now, ConditionTypes.Running, false, "Restarting");
        }

        _runsFrom = double.IsNaN(_runsFrom) ? _starts : _runsFrom;
        if (minute < _runsFrom)
        {
            return _status;
        }

        double trained = minute - begin;
        return With(_status.Attempt, Phases.Running, nodes).With(now, ConditionTypes.Running, true, Reasons.AllNodesReady)
            .With(now, ConditionTypes.Restarting, false, Reasons.AllNodesReady) with
        {
            Progress = new JobProgress
            {
                Step = (long)(trained * 28),
                Percent = (int)Math.Min(99, trained * 28 * 100 / TotalSteps),
                LastCheckpointTime = RecordedCluster.Begin.AddMinutes(begin + Math.Floor(trained / 10) * 10),
            },
        };
    }

    private DeepSpeedJobStatus With(int attempt, string phase, int ready) => _status with
    {
        Attempt = attempt,
        Phase = phase,
        Nodes = new NodeCounts { Desired = nodes, Created = nodes, Scheduled = phase == Phases.Scheduling ? nodes - 1 : nodes, Ready = ready },
    };
}

/// <summary>A node that trains: the worker's metrics by name.</summary>
internal sealed class RecordedWorker(int node)
{
    private const double SecondsPerStep = 2.1;

    private static readonly (string Op, double Part, double Gigabytes)[] Collectives =
        [("all_gather_into_tensor", 0.12, 28), ("reduce_scatter_tensor", 0.09, 14), ("all_reduce", 0.01, 0.001)];

    private Metrics_ _metrics = new();
    private readonly Random _random = new(node);
    private double _trained;

    public int Node => node;

    public CollectorRegistry Registry => _metrics.Registry;

    /// <summary>The names of all its metrics.</summary>
    public static IReadOnlyList<string> Names { get; } =
    [
        "deepspeed_step", "deepspeed_train_loss", "deepspeed_learning_rate", "deepspeed_grad_norm", "deepspeed_loss_scale",
        "deepspeed_model_flops_utilization_ratio", "deepspeed_overflow_steps_total", "deepspeed_samples_total", "deepspeed_tokens_total",
        "deepspeed_step_duration_seconds", "deepspeed_checkpoint_duration_seconds", "deepspeed_checkpoint_last_success_timestamp_seconds",
        "deepspeed_gpu_memory_allocated_bytes", "deepspeed_gpu_memory_peak_bytes", "deepspeed_collective_seconds_total", "deepspeed_collective_bytes_total",
    ];

    public void Restart() => _metrics = new Metrics_();

    public void Train(double minute, int attempt, double seconds)
    {
        double slow = node == 2 && minute > 140 ? 1.25 : 1, step = SecondsPerStep * (attempt > 1 ? 0.97 : 1);
        _trained += seconds / step;
        double progress = Math.Min(1, _trained / 6000), noise = 0.5 - _random.NextDouble();
        _metrics.Gauges["deepspeed_step"].Set(Math.Floor(_trained));
        _metrics.Gauges["deepspeed_train_loss"].Set(2.2 + 8.3 * Math.Exp(-_trained / 420) + 0.12 * noise);
        _metrics.Gauges["deepspeed_learning_rate"].Set(_trained < 300 ? 3e-4 * _trained / 300 : 1.5e-4 * (1 + Math.Cos(Math.PI * progress)));
        _metrics.Gauges["deepspeed_grad_norm"].Set(0.7 + 3 * Math.Exp(-_trained / 200) + 0.2 * _random.NextDouble());
        _metrics.Gauges["deepspeed_model_flops_utilization_ratio"].Set(0.43 / slow + 0.01 * noise);
        bool overflows = _random.Next(60) == 0;
        _metrics.Gauges["deepspeed_loss_scale"].Set(Math.Pow(2, 16 + (int)(_trained / 1000) % 4 - (overflows ? 1 : 0)));
        _metrics.Counters["deepspeed_overflow_steps_total"].Inc(overflows ? 1 : 0);
        _metrics.Gauges["deepspeed_gpu_memory_allocated_bytes"].Set((38.5 + 0.4 * node + 0.2 * noise) * (1L << 30));
        _metrics.Gauges["deepspeed_gpu_memory_peak_bytes"].Set((61.2 + 0.3 * node) * (1L << 30));
        for (double left = seconds; left > 0; left -= step)
        {
            // ZeRO 3 of seven billion parameters in bf16; the others wait for the slow node.
            foreach ((string op, double part, double gigabytes) in Collectives)
            {
                _metrics.Counters["deepspeed_collective_seconds_total"].WithLabels(op).Inc(step * part * (minute > 140 && node != 2 ? 1.8 : 1));
                _metrics.Counters["deepspeed_collective_bytes_total"].WithLabels(op).Inc(gigabytes * 1e9);
            }

            _metrics.Counters["deepspeed_samples_total"].Inc(1024);
            _metrics.Counters["deepspeed_tokens_total"].Inc(1024 * 2048);
            _metrics.Histograms["deepspeed_step_duration_seconds"].Observe(step * slow * (0.96 + 0.08 * _random.NextDouble()));
        }

        if (minute % 10 < 0.4)
        {
            _metrics.Histograms["deepspeed_checkpoint_duration_seconds"].Observe(9 + 4 * _random.NextDouble());
            _metrics.Gauges["deepspeed_checkpoint_last_success_timestamp_seconds"].Set(RecordedCluster.Begin.AddMinutes(minute).ToUnixTimeSeconds());
        }
    }

    private sealed class Metrics_
    {
        public Metrics_()
        {
            MetricFactory factory = Metrics.WithCustomRegistry(Registry);
            Counters = Names.Where(n => n.EndsWith("_total", StringComparison.Ordinal)).ToDictionary(n => n,
                n => n.Contains("collective", StringComparison.Ordinal) ? factory.CreateCounter(n, "", "op") : factory.CreateCounter(n, ""));
            Histograms = Names.Where(n => n.EndsWith("duration_seconds", StringComparison.Ordinal)).ToDictionary(n => n, n => factory.CreateHistogram(
                n, "", new HistogramConfiguration { Buckets = Histogram.ExponentialBuckets(n.Contains("step") ? 0.01 : 0.1, 2, 14) }));
            Gauges = Names.Where(n => !Counters.ContainsKey(n) && !Histograms.ContainsKey(n)).ToDictionary(n => n, n => factory.CreateGauge(n, ""));
        }

        public CollectorRegistry Registry { get; } = Metrics.NewCustomRegistry();

        public Dictionary<string, Counter> Counters { get; }

        public Dictionary<string, Histogram> Histograms { get; }

        public Dictionary<string, Gauge> Gauges { get; }
    }
}

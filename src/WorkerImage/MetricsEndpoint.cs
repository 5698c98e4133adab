using System.Text.Json;
using DeepSpeedSharp.Engine;
using DeepSpeedSharp.Engine.Comm.Recording;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Logging;
using Prometheus;

namespace DeepSpeedSharp.Worker;

/// <summary>Serves <c>/metrics</c> for Prometheus, <c>/progress</c> for the operator and <c>/healthz</c>.</summary>
internal sealed class MetricsEndpoint : IDisposable
{
    private readonly CollectorRegistry _registry = Metrics.NewCustomRegistry();
    private readonly Gauge _step, _loss, _learningRate, _gradientNorm, _lossScale, _utilization, _tokensPerSecond, _checkpointTime;
    private readonly Gauge _gpuAllocated, _gpuPeak;
    private readonly Counter _samples, _tokens, _overflows, _collectiveSeconds, _collectiveBytes, _collectives;
    private readonly Histogram _stepSeconds, _checkpointSeconds;
    private WebApplication? _server;

    /// <param name="engine">Is asked for memory and collectives whenever somebody looks.</param>
    public MetricsEndpoint(DeepSpeedEngine engine)
    {
        MetricFactory factory = Metrics.WithCustomRegistry(_registry);
        _step = factory.CreateGauge("deepspeed_step", "Optimizer steps trained.");
        _loss = factory.CreateGauge("deepspeed_train_loss", "Mean loss over ranks of the last step.");
        _learningRate = factory.CreateGauge("deepspeed_learning_rate", "Learning rate after the last step.");
        _gradientNorm = factory.CreateGauge("deepspeed_grad_norm", "Global L2 norm of the gradients before clipping.");
        // Absent, not 0, in runs that have none.
        var absent = new GaugeConfiguration { SuppressInitialValue = true };
        _lossScale = factory.CreateGauge("deepspeed_loss_scale", "Loss scale of fp16 training after the last step.", absent);
        _utilization = factory.CreateGauge("deepspeed_model_flops_utilization_ratio",
            "Model flops of the last step as a share of the GPUs' peak (MFU).", absent);
        _tokensPerSecond = factory.CreateGauge("deepspeed_tokens_per_second", "Tokens of the last step over its duration, over all ranks.", absent);
        _gpuAllocated = factory.CreateGauge("deepspeed_gpu_memory_allocated_bytes", "Memory that tensors take on the GPU of this rank.", absent);
        _gpuPeak = factory.CreateGauge("deepspeed_gpu_memory_peak_bytes", "The most that tensors have taken on the GPU of this rank.", absent);
        _collectiveSeconds = factory.CreateCounter("deepspeed_collective_seconds_total",
            "Time from the call of a collective to its end on this rank, waiting for other ranks included; may overlap with computation.", "op");
        _collectiveBytes = factory.CreateCounter("deepspeed_collective_bytes_total", "Messages of collectives of this rank.", "op");
        _collectives = factory.CreateCounter("deepspeed_collectives_total", "Collectives of this rank.", "op");
        _registry.AddBeforeCollectCallback(() => Look(engine));
        _overflows = factory.CreateCounter("deepspeed_overflow_steps_total", "Steps skipped by this process because a gradient overflowed.");
        _samples = factory.CreateCounter("deepspeed_samples_total", "Samples trained over all ranks by this process.");
        _tokens = factory.CreateCounter("deepspeed_tokens_total", "Tokens trained over all ranks by this process.");
        _stepSeconds = factory.CreateHistogram("deepspeed_step_duration_seconds", "Duration of an optimizer step.",
            new HistogramConfiguration { Buckets = Histogram.ExponentialBuckets(0.01, 2, 14) });
        _checkpointSeconds = factory.CreateHistogram("deepspeed_checkpoint_duration_seconds", "Duration of saving a checkpoint.",
            new HistogramConfiguration { Buckets = Histogram.ExponentialBuckets(0.1, 2, 14) });
        _checkpointTime = factory.CreateGauge("deepspeed_checkpoint_last_success_timestamp_seconds", "When the last checkpoint was saved.");
    }

    /// <summary>What <c>/progress</c> serves.</summary>
    public RunProgress Progress { get; set; } = new();

    /// <summary>Listens; a port that is taken is only a warning, since training matters more.</summary>
    /// <param name="port">TCP port.</param>
    /// <param name="path">Path of the metrics.</param>
    /// <param name="loopbackOnly">Whether only this machine may ask.</param>
    public void Start(int port, string path, bool loopbackOnly)
    {
        WebApplicationBuilder builder = WebApplication.CreateSlimBuilder();
        builder.Logging.ClearProviders();
        builder.WebHost.ConfigureKestrel(kestrel =>
        {
            if (loopbackOnly)
            {
                kestrel.ListenLocalhost(port);
            }
            else
            {
                kestrel.ListenAnyIP(port);
            }
        });
        _server = builder.Build();
        _server.MapGet("/healthz", () => "ok\n");
        _server.MapGet("/progress", () => Results.Text(JsonSerializer.Serialize(Progress), "application/json"));
        _server.MapGet(path, async context =>
        {
            context.Response.ContentType = "text/plain; version=0.0.4; charset=utf-8";
            await _registry.CollectAndExportAsTextAsync(context.Response.Body, context.RequestAborted);
        });
        try
        {
            _server.StartAsync().GetAwaiter().GetResult();
        }
        catch (IOException e)
        {
            Console.Error.WriteLine($"no metrics endpoint: {e.Message}");
        }
    }

    public void Report(StepMetrics metrics, int samples, long tokens, double seconds, double? utilization)
    {
        _step.Set(metrics.Step);
        _loss.Set(metrics.Loss);
        _learningRate.Set(metrics.LearningRate);
        if (metrics.GradientNorm is { } norm)
        {
            _gradientNorm.Set(norm);
        }

        if (metrics.LossScale is { } scale)
        {
            _lossScale.Set(scale);
        }

        if (utilization is { } mfu)
        {
            _utilization.Set(mfu);
        }

        _overflows.Inc(metrics.Overflow ? 1 : 0);
        _samples.Inc(samples);
        _tokens.Inc(tokens);
        _tokensPerSecond.Set(tokens / Math.Max(1e-9, seconds));
        _stepSeconds.Observe(seconds);
    }

    /// <summary>How long training stood for a checkpoint.</summary>
    public void ReportCheckpointTime(double seconds) => _checkpointSeconds.Observe(seconds);

    /// <summary>That a checkpoint is complete.</summary>
    public void ReportCheckpoint(DateTimeOffset time) => _checkpointTime.Set(time.ToUnixTimeSeconds());

    private void Look(DeepSpeedEngine engine)
    {
        if (engine.GpuMemory is { } memory)
        {
            _gpuAllocated.Set(memory.Allocated);
            _gpuPeak.Set(memory.PeakAllocated ?? memory.Allocated);
        }

        foreach ((string operation, CollectiveTotals totals) in engine.Group.FlightRecorder?.Totals() ?? new Dictionary<string, CollectiveTotals>())
        {
            string op = JsonNamingPolicy.SnakeCaseLower.ConvertName(operation);
            _collectiveSeconds.WithLabels(op).IncTo(totals.Time.TotalSeconds);
            _collectiveBytes.WithLabels(op).IncTo(totals.Bytes);
            _collectives.WithLabels(op).IncTo(totals.Count);
        }
    }

    public void Dispose()
    {
        using var limit = new CancellationTokenSource(TimeSpan.FromSeconds(2));
        _server?.StopAsync(limit.Token).GetAwaiter().GetResult();
    }
}

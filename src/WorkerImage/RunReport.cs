using DeepSpeedSharp.Config;
using DeepSpeedSharp.Engine;

namespace DeepSpeedSharp.Worker;

/// <summary>Tells how a run goes: console and metrics file on rank 0, the endpoint on the first rank of each node.</summary>
internal sealed class RunReport : IDisposable
{
    private readonly TrainOptions _options;
    private readonly WorkerEnvironment _environment;
    private readonly DeepSpeedEngine _engine;
    private readonly TimeProvider _clock;
    private readonly ConsoleProgress? _console;
    private readonly MetricsFile? _file;
    private readonly MetricsEndpoint? _endpoint;
    private readonly long _tokensPerStep;
    private readonly Workload _work;
    private readonly double? _peakFlops; // of all ranks
    private readonly string? _metricsPath;
    private (string Path, long Step)? _saving;
    private long _stepStart;
    private double _secondsPerStep;

    public RunReport(TrainOptions options, DeepSpeedConfig config, WorkerEnvironment environment, DeepSpeedEngine engine,
        Workload work, TimeProvider clock)
    {
        (_options, _environment, _engine, _clock) = (options, environment, engine, clock);
        _tokensPerStep = (long)engine.Batch.TrainBatchSize * work.SequenceLength;
        _work = work;
        bool is16Bit = config.Bf16.Enabled || config.Fp16.Enabled;
        _peakFlops = (options.PeakTflops * 1e12 ?? PeakFlops.OfThisMachine(engine.Device.type == TorchSharp.DeviceType.CUDA, is16Bit)) * engine.Batch.WorldSize;
        _stepStart = clock.GetTimestamp();
        if (environment.Rank == 0)
        {
            _console = new ConsoleProgress(options.MaxSteps, config.StepsPerPrint, Console.Out, !Console.IsOutputRedirected, clock);
            _metricsPath = options.MetricsFile ?? (options.CheckpointDirectory is { } d ? Path.Combine(d, "metrics.jsonl") : null);
            _file = _metricsPath is null ? null : new MetricsFile(_metricsPath, engine.GlobalSteps);
        }

        if (environment.LocalRank == 0 && options.MetricsPort is { } port)
        {
            _endpoint = new MetricsEndpoint(engine);
            _endpoint.Start(port, options.MetricsPath, loopbackOnly: System.Net.IPAddress.TryParse(environment.MasterAddress, out System.Net.IPAddress? a)
                && System.Net.IPAddress.IsLoopback(a));
        }
    }

    /// <summary>How far training is.</summary>
    public RunProgress Progress { get; private set; } = new();

    /// <summary>Whether this process has trained a step.</summary>
    public bool HasTrained { get; private set; }

    public void Begin(string what, EngineReport with, string? resumedFrom)
    {
        BatchPlan batch = _engine.Batch;
        _console?.Say(what);
        _console?.Say(with.ToString());
        _console?.Say($"batch {batch.TrainBatchSize} = {batch.MicroBatchSize} (micro batch) x "
            + $"{batch.GradientAccumulationSteps} (accumulation) x {batch.WorldSize} (ranks)");
        _console?.Say(resumedFrom is null
            ? _options.CheckpointDirectory is null ? "no folder for checkpoints: none will be saved" : "starting anew: no checkpoint yet"
            : $"resuming after step {_engine.GlobalSteps} from {resumedFrom}");
        Publish(new RunProgress { Step = _engine.GlobalSteps, LastCheckpointStep = resumedFrom is null ? null : _engine.GlobalSteps });
    }

    /// <summary>Starts the clock; from then on it runs from one step's end to the next.</summary>
    public void BeginStep() => _stepStart = _clock.GetTimestamp();

    public void EndStep(StepMetrics metrics)
    {
        double seconds = _clock.GetElapsedTime(_stepStart).TotalSeconds;
        BeginStep();
        // A moving mean over about ten steps, so that the time left does not jump.
        _secondsPerStep = _secondsPerStep == 0 ? seconds : 0.9 * _secondsPerStep + 0.1 * seconds;
        double tokensPerSecond = _tokensPerStep / Math.Max(1e-9, _secondsPerStep);
        TimeSpan left = TimeSpan.FromSeconds(Math.Min(1e9, (_options.MaxSteps - metrics.Step) * _secondsPerStep));
        HasTrained = true;
        PublishSaved();
        double tokensPerSecondNow = _tokensPerStep / Math.Max(1e-9, seconds);
        _console?.Report(metrics, tokensPerSecond, Utilization(tokensPerSecond), left);
        _file?.Write(metrics, tokensPerSecondNow, seconds, Utilization(tokensPerSecondNow));
        _endpoint?.Report(metrics, _engine.Batch.TrainBatchSize, _tokensPerStep, seconds, Utilization(tokensPerSecondNow));
        Publish(Progress with
        {
            Step = metrics.Step,
            Loss = double.IsFinite(metrics.Loss) ? metrics.Loss : null,
            LearningRate = metrics.LearningRate,
            TokensPerSecond = Math.Round(tokensPerSecond, 1),
            EtaSeconds = Math.Round(left.TotalSeconds, 1),
        });
    }

    /// <summary>Shows lines of the engine, on rank 0.</summary>
    public void Say(string text) => _console?.Say(text);

    /// <summary>Says that a checkpoint was saved, or that it was copied and is being written.</summary>
    public void Saved(string path, TimeSpan took)
    {
        _endpoint?.ReportCheckpointTime(took.TotalSeconds);
        _saving = (path, _engine.GlobalSteps);
        _console?.Say(_engine.LastCheckpoint == path ? $"saved {path} in {took.TotalSeconds:0.0} s"
            : $"copied {path} in {took.TotalSeconds:0.0} s; it is being written");
        PublishSaved();
    }

    // Of a checkpoint that is written behind this is known later.
    private void PublishSaved()
    {
        if (_saving is not { } saving || _engine.LastCheckpoint != saving.Path)
        {
            return;
        }

        _saving = null;
        DateTimeOffset now = _clock.GetUtcNow();
        _endpoint?.ReportCheckpoint(now);
        Publish(Progress with { LastCheckpointStep = saving.Step, LastCheckpointTime = now });
    }

    public void End(string how, long savedStep)
    {
        _console?.Say(_engine.PeakMemory);
        _console?.Say(_options.CheckpointDirectory is null ? how : $"{how}; checkpoint of step {savedStep} in {_options.CheckpointDirectory}");
        if (_metricsPath is not null)
        {
            _console?.Say($"metrics in {_metricsPath}");
        }
    }

    public void Dispose()
    {
        _file?.Dispose();
        _endpoint?.Dispose();
    }

    private double? Utilization(double tokensPerSecond) => tokensPerSecond * _work.FlopsPerToken / _peakFlops;

    private void Publish(RunProgress progress)
    {
        Progress = progress with
        {
            TotalSteps = _options.MaxSteps,
            Attempt = int.TryParse(Environment.GetEnvironmentVariable("DSJ_ATTEMPT"), out int attempt) ? attempt : null,
        };
        if (_endpoint is not null)
        {
            _endpoint.Progress = Progress;
        }
    }
}

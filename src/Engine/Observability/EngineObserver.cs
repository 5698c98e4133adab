using System.Globalization;
using DeepSpeedSharp.Config;
using TorchSharp;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine.Observability;

/// <summary>What rank 0 of the engine shows and keeps of its steps, as the config asks: progress and throughput,
/// times, memory, the flops profile and the monitors.</summary>
/// <remarks>
/// The engine calls it around each phase of a micro batch. What is switched off costs one comparison a call, and the
/// GPU is waited for only for times that somebody asked for.
/// </remarks>
internal sealed class EngineObserver : IDisposable
{
    /// <summary>How often breakdowns are printed when the config gives no <c>steps_per_print</c>: DeepSpeed's documented default.</summary>
    public const int DefaultStepsPerPrint = 10;

    private readonly DeepSpeedConfig _config;
    private readonly nn.Module _module;
    private readonly Device _device;
    private readonly ObserverOutput _output;
    private readonly TimeProvider _clock;
    private readonly MonitorSet _monitors;
    private readonly ThroughputTimer? _throughput;
    private readonly bool _keepsTimes;
    private WallClockTimers? _timers;
    private FlopsProfiler? _profiler; // hooks are there
    private ModuleProfile? _profile; // waits for the report of its step
    private long _globalSteps; // done before the step under way

    private EngineObserver(DeepSpeedConfig config, nn.Module module, Device device, BatchPlan batch, ObserverOutput output, TimeProvider clock)
    {
        (_config, _module, _device, Batch, _output, _clock) = (config, module, device, batch, output, clock);
        _monitors = new MonitorSet(config, clock, output.Warn);
        _keepsTimes = config.WallClockBreakdown;
        _timers = _keepsTimes ? new WallClockTimers(clock, Synchronize) : null;
        _throughput = config.Timers.Throughput.Enabled && output.ShowsProgress && config.StepsPerPrint is not null
            ? new ThroughputTimer(clock, config.Timers.Throughput.Synchronized ? Synchronize : () => { })
            : null;
    }

    /// <summary>The batch numbers of the step under way; the engine sets them when they change.</summary>
    public BatchPlan Batch { get; set; }

    private int StepsPerPrint => _config.StepsPerPrint ?? DefaultStepsPerPrint;

    /// <summary>Makes an observer; null when nothing is to be observed on this rank.</summary>
    /// <param name="config">What is asked for.</param>
    /// <param name="module">The model.</param>
    /// <param name="device">Where it is.</param>
    /// <param name="rank">This rank; only rank 0 observes.</param>
    /// <param name="batch">The batch numbers.</param>
    /// <param name="output">Where lines go.</param>
    /// <param name="clock">The time.</param>
    public static EngineObserver? Create(DeepSpeedConfig config, nn.Module module, Device device, int rank, BatchPlan batch,
        ObserverOutput output, TimeProvider clock)
    {
        bool observes = config.WallClockBreakdown || config.MemoryBreakdown || config.FlopsProfiler.Enabled
            || config.CsvMonitor.Enabled || config.TensorBoard.Enabled || (output.ShowsProgress && config.StepsPerPrint is not null);
        return rank == 0 && observes ? new EngineObserver(config, module, device, batch, output, clock) : null;
    }

    /// <summary>Before a forward pass that will be trained on.</summary>
    /// <param name="globalSteps">Steps done so far.</param>
    public void BeforeForward(long globalSteps)
    {
        _globalSteps = globalSteps;
        if (_config.FlopsProfiler is { Enabled: true } flops && globalSteps == flops.ProfileStep && _profile is null && _profiler is null)
        {
            _timers ??= new WallClockTimers(_clock, Synchronize);
            _profiler = new FlopsProfiler(_module, _clock, Synchronize);
        }

        _timers?.Start(Phase.Forward);
    }

    /// <summary>After a forward pass, also one that threw.</summary>
    public void AfterForward()
    {
        _timers?.Stop(Phase.Forward);
        if (_profiler is not null)
        {
            _profile = _profiler.Root;
            _profiler.Dispose();
            _profiler = null;
        }
    }

    /// <summary>Before the backward pass.</summary>
    public void BeforeBackward()
    {
        _timers?.Start(Phase.Backward);
        _timers?.Start(Phase.BackwardInner);
    }

    /// <summary>After autograd, before the engine waits for the reduction of gradients.</summary>
    public void BeforeReduce()
    {
        _timers?.Stop(Phase.BackwardInner);
        _timers?.Start(Phase.BackwardAllReduce);
    }

    /// <summary>After the gradients of all ranks are there.</summary>
    public void AfterReduce() => _timers?.Stop(Phase.BackwardAllReduce);

    /// <summary>After the backward pass, with or without a reduction in it.</summary>
    public void AfterBackward()
    {
        _timers?.Stop(Phase.BackwardInner);
        _timers?.Stop(Phase.Backward);
    }

    /// <summary>Before clipping and update.</summary>
    public void BeforeStep() => _timers?.Start(Phase.Step);

    /// <summary>After the update.</summary>
    /// <param name="isBoundary">Whether this was the last micro batch of the step.</param>
    public void AfterStep(bool isBoundary)
    {
        _timers?.Stop(Phase.Step);
        if (isBoundary)
        {
            _timers?.EndStep();
            _throughput?.EndStep(Batch.TrainBatchSize, (_globalSteps + 1) % StepsPerPrint == 0);
        }
    }

    /// <summary>Shows and keeps what a step measured. May come while the next step is under way, but not after
    /// <see cref="AfterStep"/> of it.</summary>
    public void Report(StepMetrics metrics)
    {
        _globalSteps = metrics.Step;
        _monitors.Write(metrics, _keepsTimes ? _timers : null);
        if (metrics.Step % StepsPerPrint == 0)
        {
            Print(metrics);
        }

        if (_profile is not null && metrics.Step == _config.FlopsProfiler.ProfileStep + 1)
        {
            ReportProfile(metrics.Step, _profile);
            _profile = null;
            _timers = _keepsTimes ? _timers : null;
        }
    }

    public void Dispose()
    {
        _profiler?.Dispose();
        _monitors.Dispose();
    }

    private void Print(StepMetrics metrics)
    {
        if (_output.ShowsProgress && _config.StepsPerPrint is not null)
        {
            _output.Say(ProgressLine.Of(metrics));
        }

        if (_throughput?.Speed is var (running, current))
        {
            _output.Say(string.Create(CultureInfo.InvariantCulture,
                $"step={metrics.Step}, RunningAvgSamplesPerSec={running:0.00}, CurrSamplesPerSec={current:0.00}") + MemoryReport.Short(_device));
        }

        if (_keepsTimes)
        {
            _output.Say(_timers!.Report());
        }

        if (_config.MemoryBreakdown)
        {
            _output.Say(MemoryReport.Breakdown(_device));
        }
    }

    private void ReportProfile(long step, ModuleProfile profile)
    {
        string text = FlopsReport.Write(profile, _config.FlopsProfiler, Batch, step, _timers!.LastStep);
        if (_config.FlopsProfiler.OutputFile is not { Length: > 0 } path)
        {
            _output.Say(text.TrimEnd());
            return;
        }

        try
        {
            Directory.CreateDirectory(Path.GetDirectoryName(Path.GetFullPath(path))!);
            File.WriteAllText(path, text);
            _output.Say($"flops profile of step {step} in {path}");
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            _output.Warn($"the flops profile cannot be written to {path}: {e.Message}; training goes on");
            _output.Say(text.TrimEnd());
        }
    }

    private void Synchronize()
    {
        if (_device.type == DeviceType.CUDA)
        {
            cuda.synchronize(_device);
        }
    }
}

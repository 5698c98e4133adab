using DeepSpeedSharp.Config;
using DeepSpeedSharp.Config.Schedules;
using DeepSpeedSharp.Engine.ActivationCheckpointing;
using DeepSpeedSharp.Engine.Checkpoint;
using DeepSpeedSharp.Engine.Comm;
using DeepSpeedSharp.Engine.Data;
using DeepSpeedSharp.Engine.Native;
using DeepSpeedSharp.Engine.Observability;
using DeepSpeedSharp.Engine.Optim;
using DeepSpeedSharp.Engine.Precision;
using DeepSpeedSharp.Engine.Zero;
using TorchSharp;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine;

/// <summary>Trains a model over all ranks with three calls: <see cref="Forward(Func{Tensor})"/>, <see cref="Backward"/>,
/// <see cref="Step"/>.</summary>
/// <remarks>Made by <see cref="DeepSpeed.Initialize{TBatch}"/>. Every rank must make the same calls in the same order.</remarks>
public sealed partial class DeepSpeedEngine : IDisposable
{
    private readonly DeepSpeedConfig _config;
    private readonly FlatParameters _parameters;
    private readonly IZeroStage _zero;
    private readonly AveragingPlan _averaging;
    private readonly PrecisionPlan _precision;
    private readonly GradientScale _scale;
    private readonly LossScaler _lossScaler;
    private readonly StepReport _report;
    private readonly CheckpointSaver _saver;
    private readonly EngineObserver? _observer;
    private readonly Action? _clientSchedule;
    private readonly Action<string> _warn; // on rank 0
    private long _clientScheduleSteps;
    private IDataPosition? _data;
    private Pending? _pending;
    private int _microBatch; // micro batches since the last step
    private bool _isReduced; // this step's gradients are sums over ranks
    private bool _isReducing; // a backward is running, or is the caller's to run, that sums as it goes
    private bool? _boundary; // the caller's word, over the count
    private bool _stopRequested;
    private bool _disposed;

    // A step whose outcome may not have reached the host.
    private sealed record Pending(long Step, long Samples, int MicroBatches, StepReport.Arrival Arrival)
    {
        public StepMetrics? Metrics { get; set; }
    }

    internal DeepSpeedEngine(nn.Module module, DeepSpeedConfig config, ProcessGroup group, Device device,
        IDataPosition? data, ClientParts client, ObserverOutput output)
    {
        (Module, _config, Group, Device, _data) = (module, config, group, device, data);
        CudaDevice.Set(device);
        Batch = BatchPlan.Resolve(config, group.WorldSize);
        _precision = PrecisionPlan.From(config);
        _warn = group.Rank == 0 ? output.Warn : _ => { };
        _parameters = new FlatParameters(module, device, _precision, client.Groups(config), Sharding.From(config.Zero, group),
            Offloading.Of(config, _precision, device, group.Rank, group.Rank == 0 ? output.Say : _ => { }),
            Offloading.WeightsOf(config, _precision, device, group.Rank, group.Rank == 0 ? output.Say : _ => { }));
        ReplicaCheck.Run(_parameters, group);
        _parameters.ShareFromRankZero(group);
        foreach ((string name, Tensor constant) in _parameters.Constants)
        {
            group.Broadcast(constant, 0, name);
        }

        _averaging = AveragingPlan.From(config, group.WorldSize);
        _warn = group.Rank == 0 ? output.Warn : _ => { };
        _zero = ZeroStages.Create(config, module, _parameters, group, _averaging, _precision.Communication, _warn);
        Optimizer = client.Optimizer(config, _parameters, device);
        (Schedule, _clientSchedule) = client.Schedule(config, Optimizer);
        if (Schedule?.Warning is { } warning)
        {
            _warn(warning);
        }

        ApplySchedule();
        _scale = new GradientScale(config.GradientClipping, _precision.ChecksOverflow);
        _lossScaler = LossScaler.Create(config.Fp16);
        _report = new StepReport(group, device);
        _saver = new CheckpointSaver(group, config.Checkpoint, group.Rank == 0 ? output.Say : _ => { }, _warn);
        _observer = EngineObserver.Create(config, module, device, group.Rank, Batch, output, TimeProvider.System);
        if (config.DumpState && group.Rank == 0)
        {
            output.Say(DumpState());
        }
    }

    /// <summary>The model; its parameters are views of the engine's flat buffer.</summary>
    public nn.Module Module { get; }

    /// <summary>The ranks of this run.</summary>
    public ProcessGroup Group { get; }

    /// <summary>Where the model is.</summary>
    public Device Device { get; }

    /// <summary>The three batch numbers.</summary>
    public BatchPlan Batch { get; private set; }

    /// <summary>The optimizer.</summary>
    public FlatOptimizer Optimizer { get; }

    /// <summary>The learning-rate schedule, or null when the rate is constant or the caller's own scheduler sets it.</summary>
    public LearningRateSchedule? Schedule { get; }

    /// <summary>Optimizer steps, those skipped for an overflow included.</summary>
    public long GlobalSteps { get; private set; }

    /// <summary>Samples seen over all ranks, those of skipped steps included.</summary>
    public long GlobalSamples { get; private set; }

    /// <summary>Micro batches seen by this rank.</summary>
    public long MicroSteps { get; private set; }

    /// <summary>Whether the next <see cref="Step"/> updates the parameters.</summary>
    public bool IsGradientAccumulationBoundary => _boundary
        ?? (!_config.ManagedGradientAccumulation || _microBatch + 1 >= Batch.GradientAccumulationSteps);

    /// <summary>Runs the model; what it computes on the way is freed as soon as autograd lets go of it.</summary>
    /// <param name="forward">Calls the model and gives the loss, a scalar.</param>
    /// <returns>The loss; the caller disposes it.</returns>
    public Tensor Forward(Func<Tensor> forward)
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        ThrowIfMoved(nameof(Forward));
        CudaDevice.Set(Device); // an await may have brought us to another thread
        using DisposeScope scope = NewDisposeScope();
        bool isObserved = _observer is not null && Module.training;
        if (isObserved)
        {
            _observer!.BeforeForward(GlobalSteps);
        }

        Group.FlightRecorder?.Step = GlobalSteps;
        try
        {
            Tensor result = forward();
            _zero.CheckForward(forward, result);
            return result.MoveToOuterDisposeScope();
        }
        catch
        {
            _zero.AbandonForward();
            throw;
        }
        finally
        {
            if (isObserved)
            {
                _observer!.AfterForward();
            }
        }
    }

    /// <summary>Calls the model.</summary>
    /// <param name="inputs">What the model takes, one to three tensors; floating ones are cast to the model's type when
    /// <c>fp16.auto_cast</c> is on.</param>
    /// <returns>What the model returns, usually the loss; the caller disposes it.</returns>
    /// <exception cref="InvalidOperationException">The model does not take so many tensors and return one.</exception>
    public Tensor Forward(params Tensor[] inputs) => Forward(() =>
    {
        Tensor[] given = _config.Fp16 is { Enabled: true, AutoCast: true }
            ? [.. inputs.Select(input => input.is_floating_point() ? input.to(float16) : input)] : inputs;
        return (Module, given) switch
        {
            (nn.Module<Tensor, Tensor> model, [var x]) => model.call(x),
            (nn.Module<Tensor, Tensor, Tensor> model, [var x, var y]) => model.call(x, y),
            (nn.Module<Tensor, Tensor, Tensor, Tensor> model, [var x, var y, var z]) => model.call(x, y, z),
            _ => throw new InvalidOperationException($"{Module.GetType().Name} does not take {inputs.Length} tensors and return one; "
                + "call it yourself: engine.Forward(() => model.call(...))"),
        };
    });

    /// <summary>Computes gradients and adds them to those of this step. In the last micro batch of a step (in ZeRO stage 2
    /// in each) they are summed over ranks meanwhile.</summary>
    /// <param name="loss">Scalar that depends on the model's parameters; divided by the accumulation steps here, and
    /// multiplied by the loss scale in fp16.</param>
    /// <param name="retainGraph">Keeps the graph for another backward.</param>
    /// <param name="scaleWrtGas">False leaves out the division by the accumulation steps.</param>
    /// <exception cref="PeerLostException">Another rank ended or hangs.</exception>
    public void Backward(Tensor loss, bool retainGraph = false, bool scaleWrtGas = true)
    {
        _observer?.BeforeBackward();
        using (Tensor scaled = Scale(loss, scaleWrtGas))
        {
            try
            {
                scaled.backward(retain_graph: retainGraph);
            }
            catch
            {
                ActivationCheckpoint.ThrowIfFailed(); // a block's own error says more than libtorch's
                _zero.ThrowIfFailed();
                throw;
            }
        }

        FinishReduction();
        _observer?.AfterBackward();
    }

    /// <summary>Scales a loss for a backward of the caller's own: <c>engine.Scale(loss).backward()</c>.</summary>
    /// <param name="loss">As for <see cref="Backward"/>.</param>
    /// <param name="scaleWrtGas">As for <see cref="Backward"/>.</param>
    /// <returns>Scalar fp32 to call backward on, once; the caller disposes it.</returns>
    public Tensor Scale(Tensor loss, bool scaleWrtGas = true)
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        ThrowIfMoved(nameof(Backward));
        CudaDevice.Set(Device);
        if (loss.numel() != 1)
        {
            throw new ArgumentException($"the loss has {loss.numel()} elements; reduce it to one, for example with mean()", nameof(loss));
        }

        if (!loss.requires_grad)
        {
            throw new ArgumentException("the loss does not depend on a parameter that requires a gradient; was it "
                + "computed under no_grad(), or detached?", nameof(loss));
        }

        _report.AddLoss(loss);
        _parameters.CheckGradientViews();
        BeginReduction();
        double factor = LossScale / (scaleWrtGas ? Batch.GradientAccumulationSteps : 1);
        using DisposeScope scope = NewDisposeScope();
        // In fp32, where a 16-bit loss times its scale would leave the range.
        return (factor == 1 ? loss.alias() : loss.to(float32) * factor).MoveToOuterDisposeScope();
    }

    /// <summary>Ends a micro batch; at the accumulation boundary, updates the parameters.</summary>
    /// <returns>The step that was taken; null when this was not the last micro batch of one.</returns>
    /// <exception cref="InvalidOperationException">Called inside <see cref="NoSync"/>.</exception>
    /// <exception cref="PeerLostException">Another rank ended or hangs.</exception>
    public StepResult? Step()
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        ThrowIfMoved(nameof(Step));
        CudaDevice.Set(Device);
        ThrowIfNotSyncing(nameof(Step));
        _observer?.BeforeStep();
        bool isBoundary = IsGradientAccumulationBoundary;
        MicroSteps++;
        _microBatch++;
        StepResult? result = null;
        if (isBoundary)
        {
            AllReduceGradients();
            result = Update();
        }

        _observer?.AfterStep(isBoundary);
        return result;
    }

    private StepResult Update()
    {
        Settle();
        using DisposeScope scope = NewDisposeScope();
        using IDisposable noGrad = no_grad();
        // The scale that this step's backward used: it changes only in Settle.
        using Tensor norm = _parameters.NormOfOwnGradients();
        _scale.MeasureNorm(norm, _lossScaler.Scale * _averaging.Left,
            _config.Zero.Stage > 0 ? squares => Group.AllReduce(squares, "gradient norm") : null);
        // Kernels that look at the overflow flag themselves spare the wait for it.
        bool isKnownOverflow = (Optimizer.NeedsOverflowKnown || _parameters.Offload is not null) && _scale.Overflow is { } overflow && overflow.ToSingle() != 0;
        if (isKnownOverflow)
        {
            Optimizer.CountSkippedStep(); // Settle takes it back
        }
        else if (_parameters.Offload is { } offload)
        {
            offload.Update(_scale.Divisor, _parameters.OwnWeights, _parameters.WeightShards, _parameters.OwnGradients);
            _zero.GatherWeights();
        }
        else
        {
            Optimizer.Step(_parameters.Masters, _parameters.OwnGradients, new StepScale(_scale.Divisor, _scale.Overflow),
                _parameters.HasMasters ? _parameters.OwnWeights : null);
            _zero.GatherWeights();
        }

        _zero.ClearGradients();
        GlobalSteps++;
        GlobalSamples += Batch.TrainBatchSize;
        Pending pending = new(GlobalSteps, GlobalSamples, _microBatch,
            _report.Send(_scale, Volatile.Read(ref _stopRequested)));
        (_pending, _microBatch, _isReduced) = (pending, 0, false);
        return new StepResult(pending.Step, () =>
        {
            if (ReferenceEquals(_pending, pending))
            {
                Settle();
            }

            return pending.Metrics!;
        }, () => pending.Metrics is not null || pending.Arrival.IsReady);
    }

    // Takes note of how the last step went: everything that depends on whether it was skipped waits for this.
    private void Settle()
    {
        if (_pending is not { } pending)
        {
            return;
        }

        _pending = null;
        StepReport.Values values = pending.Arrival.Read();
        LossScaleException? end = null;
        try
        {
            _lossScaler.Update(values.IsOverflow);
        }
        catch (LossScaleException e)
        {
            end = e; // thrown below: the step has its place in counters and reports first
        }

        if (values.IsOverflow)
        {
            SkippedStepsNow++;
            Optimizer.UndoStep();
        }
        else
        {
            Schedule?.Step();
            ApplySchedule();
            StepClientSchedule();
        }

        (LastStepApplied, LastGradientNorm) = (!values.IsOverflow, double.IsFinite(values.Norm) ? values.Norm : null);
        pending.Metrics = new StepMetrics
        {
            Step = pending.Step,
            Loss = values.Loss / pending.MicroBatches / Group.WorldSize,
            LearningRates = CurrentRates(),
            Momentum = CurrentMomentum(),
            GradientNorm = LastGradientNorm,
            LossScale = _config.Fp16.Enabled ? _lossScaler.Scale : null,
            Overflow = values.IsOverflow,
            SkippedSteps = SkippedStepsNow,
            GlobalSamples = pending.Samples,
            StopRequested = values.StopRequests > 0,
        };
        _observer?.Report(pending.Metrics);
        if (end is not null)
        {
            throw end;
        }
    }

    private void StepClientSchedule()
    {
        if (_clientSchedule is not null)
        {
            _clientSchedule();
            _clientScheduleSteps++;
        }
    }

    private void ApplySchedule()
    {
        if (Schedule is null)
        {
            return;
        }

        foreach ((ParameterGroup group, ScheduleValue value) in Optimizer.ParameterGroups.Zip(Schedule.Current))
        {
            group.LearningRate = value.LearningRate;
            (group.Beta1, group.Beta2) = (value.Beta1 ?? group.Beta1, value.Beta2 ?? group.Beta2);
        }
    }
}

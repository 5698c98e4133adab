using System.Text.Json.Nodes;
using DeepSpeedSharp.Config;
using DeepSpeedSharp.Engine.Checkpoint;
using DeepSpeedSharp.Engine.Comm;
using DeepSpeedSharp.Engine.Data;
using DeepSpeedSharp.Engine.Optim;
using DeepSpeedSharp.Engine.Schedules;
using TorchSharp;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine;

/// <summary>Trains a model over all ranks with three calls: <see cref="Forward"/>, <see cref="Backward"/>,
/// <see cref="Step"/>.</summary>
/// <remarks>Made by <see cref="DeepSpeed.Initialize{TBatch}"/>. Every rank must make the same calls in the same order.</remarks>
public sealed class DeepSpeedEngine : IDisposable
{
    private readonly DeepSpeedConfig _config;
    private readonly FlatParameters _parameters;
    private readonly GradientBuckets _buckets;
    private readonly IDataPosition? _data;
    private readonly Tensor _report; // [2] fp32: sum of losses of this step on this rank, stop request
    private bool _stopRequested;
    private bool _disposed;

    internal DeepSpeedEngine(
        nn.Module module, DeepSpeedConfig config, ProcessGroup group, Device device, IDataPosition? data)
    {
        (Module, _config, Group, Device, _data) = (module, config, group, device, data);
        Batch = BatchPlan.Resolve(config.Batch, group.WorldSize);
        _parameters = new FlatParameters(module, device);
        ReplicaCheck.Run(_parameters, group);
        group.Broadcast(_parameters.Values, 0, "parameters");
        foreach ((string name, Tensor constant) in _parameters.Constants)
        {
            group.Broadcast(constant, 0, name);
        }

        _buckets = new GradientBuckets(_parameters, group, config.Zero.ReduceBucketSize);
        Optimizer = new Adam((AdamParams)config.Optimizer!.Params, _parameters.Values);
        Schedule = config.Scheduler is { } scheduler ? new WarmupLR((WarmupParams)scheduler.Params, Optimizer.InitialLearningRate) : null;
        ApplySchedule();
        _report = zeros(2, float32, device).DetachFromDisposeScope();
    }

    /// <summary>The model; its parameters are views of the engine's flat buffer.</summary>
    public nn.Module Module { get; }

    /// <summary>The ranks of this run.</summary>
    public ProcessGroup Group { get; }

    /// <summary>Where the model is.</summary>
    public Device Device { get; }

    /// <summary>The three batch numbers.</summary>
    public BatchPlan Batch { get; }

    /// <summary>The optimizer.</summary>
    public Adam Optimizer { get; }

    /// <summary>The learning-rate schedule, or null when the rate is constant.</summary>
    public WarmupLR? Schedule { get; }

    /// <summary>Optimizer steps taken.</summary>
    public long GlobalSteps { get; private set; }

    /// <summary>Samples seen over all ranks.</summary>
    public long GlobalSamples { get; private set; }

    /// <summary>Micro batches seen by this rank.</summary>
    public long MicroSteps { get; private set; }

    /// <summary>Number of trainable values of the model.</summary>
    public long ParameterCount => _parameters.Slots.Sum(slot => slot.Elements);

    /// <summary>The learning rate of the next update.</summary>
    public double LearningRate => Optimizer.LearningRate;

    /// <summary>Global gradient norm of the last step, before clipping; null before the first.</summary>
    public double? GlobalGradientNorm { get; private set; }

    /// <summary>Whether the next <see cref="Step"/> updates the parameters.</summary>
    public bool IsGradientAccumulationBoundary => (MicroSteps + 1) % Batch.GradientAccumulationSteps == 0;

    /// <summary>Runs the model; what it computes on the way is freed as soon as autograd lets go of it.</summary>
    /// <param name="forward">Calls the model and gives the loss, a scalar.</param>
    /// <returns>The loss; the caller disposes it.</returns>
    public Tensor Forward(Func<Tensor> forward)
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        using DisposeScope scope = NewDisposeScope();
        return forward().MoveToOuterDisposeScope();
    }

    /// <summary>Computes gradients and adds them to those of this step. In the last micro batch of a step they are
    /// summed over ranks meanwhile.</summary>
    /// <param name="loss">Scalar that depends on the model's parameters; divided by the accumulation steps here.</param>
    /// <exception cref="PeerLostException">Another rank ended or hangs.</exception>
    public void Backward(Tensor loss)
    {
        if (loss.numel() != 1)
        {
            throw new ArgumentException($"the loss has {loss.numel()} elements; reduce it to one, for example with mean()", nameof(loss));
        }

        using DisposeScope scope = NewDisposeScope();
        using (no_grad())
        {
            _report.narrow(0, 0, 1).add_(loss.detach());
        }

        _parameters.CheckGradientViews();
        bool reduces = IsGradientAccumulationBoundary;
        if (reduces)
        {
            _buckets.Begin();
        }

        Tensor scaled = Batch.GradientAccumulationSteps == 1 ? loss : loss / Batch.GradientAccumulationSteps;
        scaled.backward();
        if (reduces)
        {
            _buckets.Finish();
        }
    }

    /// <summary>Ends a micro batch; at the accumulation boundary, updates the parameters.</summary>
    /// <returns>What the step measured; null when it was not the last micro batch of a step.</returns>
    /// <exception cref="PeerLostException">Another rank ended or hangs.</exception>
    public StepMetrics? Step()
    {
        bool isBoundary = IsGradientAccumulationBoundary;
        MicroSteps++;
        if (!isBoundary)
        {
            return null;
        }

        using DisposeScope scope = NewDisposeScope();
        using IDisposable noGrad = no_grad();
        GlobalGradientNorm = AverageAndClip();
        Optimizer.Step(_parameters.Values, _parameters.Gradients);
        _parameters.Gradients.zero_();
        Schedule?.Step();
        ApplySchedule();
        GlobalSteps++;
        GlobalSamples += Batch.TrainBatchSize;
        (double loss, bool stop) = AgreeOnReport();
        return new StepMetrics
        {
            Step = GlobalSteps,
            Loss = loss,
            LearningRates = [LearningRate],
            Momentum = _config.Optimizer!.Params is AdamParams adam ? [adam.Betas] : [],
            GradientNorm = double.IsFinite(GlobalGradientNorm.Value) ? GlobalGradientNorm : null,
            GlobalSamples = GlobalSamples,
            StopRequested = stop,
        };
    }

    /// <summary>Asks all ranks to stop; they learn of it together, in the metrics of the same step.</summary>
    /// <remarks>May be called from any thread, for example a signal handler.</remarks>
    public void RequestStop() => Volatile.Write(ref _stopRequested, true);

    /// <summary>Saves everything needed to go on. Every rank must call this.</summary>
    /// <param name="directory">Folder of checkpoints, shared by all ranks.</param>
    /// <param name="tag">Name of this one; null means <c>global_step{steps}</c>.</param>
    /// <param name="clientState">The caller's own state; given back by <see cref="LoadCheckpoint"/>.</param>
    /// <returns>Folder of the checkpoint.</returns>
    /// <exception cref="CheckpointException">It could not be written; an earlier one is untouched.</exception>
    public string SaveCheckpoint(string directory, string? tag = null, JsonObject? clientState = null) =>
        CheckpointWriter.Save(directory, tag ?? $"global_step{GlobalSteps}", Group, _parameters, new CheckpointState
        {
            GlobalSteps = GlobalSteps,
            GlobalSamples = GlobalSamples,
            OptimizerSteps = Optimizer.Steps,
            ScheduleIteration = Schedule?.LastBatchIteration,
            ClientState = clientState,
        }, Optimizer);

    /// <summary>Goes on where a checkpoint was saved: parameters, optimizer, schedule, counters, data order and random
    /// numbers. Every rank must call this.</summary>
    /// <param name="directory">Folder of checkpoints.</param>
    /// <param name="tag">Name of the checkpoint; null takes the one named by the file <c>latest</c>.</param>
    /// <returns>Folder of the checkpoint and the caller's state; both null when there is no checkpoint.</returns>
    /// <exception cref="CheckpointException">It is damaged, or belongs to another model.</exception>
    public (string? Path, JsonObject? ClientState) LoadCheckpoint(string directory, string? tag = null)
    {
        if (CheckpointReader.Load(directory, tag, Group, _parameters, Optimizer) is not { } loaded)
        {
            return (null, null);
        }

        CheckpointState state = loaded.State;
        (GlobalSteps, GlobalSamples) = (state.GlobalSteps, state.GlobalSamples);
        Optimizer.Steps = state.OptimizerSteps;
        if (Schedule is not null)
        {
            Schedule.LastBatchIteration = state.ScheduleIteration ?? GlobalSteps - 1;
        }

        ApplySchedule();
        // A checkpoint stands between two steps. Counted in samples, the place in the data means the same for any
        // number of ranks.
        MicroSteps = GlobalSteps * Batch.GradientAccumulationSteps;
        if (_data is not null)
        {
            _data.Position = GlobalSamples / ((long)Batch.MicroBatchSize * Batch.WorldSize);
        }

        return (loaded.Path, state.ClientState);
    }

    /// <summary>Frees the flat buffers; the model must not be used afterwards.</summary>
    public void Dispose()
    {
        _disposed = true;
        _buckets.Dispose();
        Optimizer.Dispose();
        _parameters.Dispose();
        _report.Dispose();
    }

    // One pass: gradients are sums over ranks until here, and the clip factor joins the division.
    private double AverageAndClip()
    {
        double norm = _parameters.Gradients.norm().ToSingle() / Group.WorldSize;
        double clip = _config.GradientClipping > 0 ? Math.Min(1, _config.GradientClipping / (norm + 1e-6)) : 1;
        double factor = clip / Group.WorldSize;
        if (factor != 1)
        {
            _parameters.Gradients.mul_(factor);
        }

        return norm;
    }

    private (double Loss, bool Stop) AgreeOnReport()
    {
        if (Volatile.Read(ref _stopRequested))
        {
            _report.narrow(0, 1, 1).fill_(1);
        }

        Group.AllReduce(_report, "step report");
        using Tensor report = _report.cpu();
        float[] values = report.data<float>().ToArray();
        _report.zero_();
        return (values[0] / Batch.GradientAccumulationSteps / Group.WorldSize, values[1] > 0);
    }

    private void ApplySchedule()
    {
        if (Schedule is not null)
        {
            Optimizer.LearningRate = Schedule.LearningRate;
        }
    }
}

using System.Globalization;
using System.Text;
using DeepSpeedSharp.Engine.Data;
using DeepSpeedSharp.Engine.Optim;
using DeepSpeedSharp.Engine.Precision;
using DeepSpeedSharp.Engine.Zero;

namespace DeepSpeedSharp.Engine;

/// <content>What programs ask and set between the three calls.</content>
public sealed partial class DeepSpeedEngine
{
    private long SkippedStepsNow { get; set; }

    private bool LastStepApplied { get; set; }

    private double? LastGradientNorm { get; set; }

    /// <summary>Index of this process over all nodes.</summary>
    public int GlobalRank => Group.Rank;

    /// <summary>Index of this process on its node.</summary>
    public int LocalRank => Group.Environment.LocalRank ?? 0;

    /// <summary>Number of processes.</summary>
    public int WorldSize => Group.WorldSize;

    /// <summary>Number of data-parallel processes; all of them in this release.</summary>
    public int DataParallelWorldSize => Group.WorldSize;

    /// <summary>Number of trainable values of the model.</summary>
    public long ParameterCount => _parameters.Slots.Sum(slot => slot.Elements);

    /// <summary>Bytes that this rank holds for all of training: weights, gradients, masters and the optimizer's state.
    /// ZeRO makes them fewer; buffers that exist during backward only are not among them.</summary>
    public long ModelStateBytes => _parameters.Bytes + Optimizer.States.Sum(s => s.State.DeviceBytes);

    /// <summary>In ZeRO stage 3, the largest number of parameter elements that were gathered at one time since it was set; 0 in other stages.</summary>
    internal long PeakLiveElements
    {
        get => _zero is Stage3Parameters stage ? stage.PeakLiveElements : 0;
        set
        {
            if (_zero is Stage3Parameters stage)
            {
                stage.PeakLiveElements = value;
            }
        }
    }

    /// <summary>The most memory that this process has taken on the host and on its GPU, for people:
    /// "peak memory: host 45.60 GiB, gpu 12.30 GiB".</summary>
    public string PeakMemory => Observability.MemoryReport.Peak(Device);

    /// <summary>Memory of this rank's GPU now; null on the CPU.</summary>
    public GpuMemory? GpuMemory => Device.type == TorchSharp.DeviceType.CUDA && Native.CudaMemory.Read(Device.index) is { } use
        ? new GpuMemory(use.Allocated, use.PeakAllocated, use.Reserved) : null;

    /// <summary>Bytes of host memory that offloaded state of this rank takes; 0 without offload. <see cref="ModelStateBytes"/> are those
    /// on the device.</summary>
    public long OffloadedBytes => _parameters.Offload?.HostBytes ?? 0;

    /// <summary>Samples per optimizer step over all ranks.</summary>
    public int TrainBatchSize => Batch.TrainBatchSize;

    /// <summary>Samples per forward on one rank.</summary>
    public int TrainMicroBatchSizePerGpu => Batch.MicroBatchSize;

    /// <summary>Micro batches per optimizer step.</summary>
    public int GradientAccumulationSteps => Batch.GradientAccumulationSteps;

    /// <summary>Which number types training uses, for people: "bf16 with fp32 master weights".</summary>
    public string Precision => _precision.ToString();

    /// <summary>The learning rate of the next update (first group).</summary>
    public double LearningRate => GetLr()[0];

    /// <summary>What the loss is multiplied by before backward; 1 except in fp16.</summary>
    public double LossScale
    {
        get
        {
            SettleIfScaling();
            return _lossScaler.Scale;
        }
    }

    /// <summary>Steps whose update was left out because a gradient was not finite.</summary>
    public long SkippedSteps
    {
        get
        {
            Settle();
            return SkippedStepsNow;
        }
    }

    /// <summary>Whether the last call of <see cref="Step"/> updated the parameters: it was at a boundary, and not skipped.</summary>
    public bool WasStepApplied
    {
        get
        {
            Settle();
            return LastStepApplied && _microBatch == 0;
        }
    }

    /// <summary>Global gradient norm of the last step, before clipping; null before the first and after a skipped one.</summary>
    public double? GlobalGradientNorm
    {
        get
        {
            Settle();
            return LastGradientNorm;
        }
    }

    /// <summary>The three batch numbers: train batch, micro batch, accumulation steps.</summary>
    public (int TrainBatchSize, int MicroBatchSize, int GradientAccumulationSteps) GetBatchInfo() =>
        (Batch.TrainBatchSize, Batch.MicroBatchSize, Batch.GradientAccumulationSteps);

    /// <summary>The learning rate of the next update, by group.</summary>
    public IReadOnlyList<double> GetLr()
    {
        Settle();
        return CurrentRates();
    }

    /// <summary>Momentum or betas of the next update, by group; empty for a group without.</summary>
    public IReadOnlyList<IReadOnlyList<double>> GetMom()
    {
        Settle();
        return CurrentMomentum();
    }

    /// <summary>Changes the train batch by changing the accumulation steps.</summary>
    /// <param name="trainBatchSize">A multiple of micro batch x ranks.</param>
    /// <exception cref="ArgumentException">It is not such a multiple.</exception>
    /// <exception cref="InvalidOperationException">In the middle of a step.</exception>
    public void SetTrainBatchSize(int trainBatchSize)
    {
        ThrowIfMidStep(nameof(SetTrainBatchSize));
        long unit = (long)Batch.MicroBatchSize * Batch.WorldSize;
        if (trainBatchSize < 1 || trainBatchSize % unit != 0)
        {
            throw new ArgumentException($"{trainBatchSize} is not a multiple of {Batch.MicroBatchSize} (micro batch) x "
                + $"{Batch.WorldSize} (ranks) = {unit}", nameof(trainBatchSize));
        }

        Batch = Batch with { TrainBatchSize = trainBatchSize, GradientAccumulationSteps = (int)(trainBatchSize / unit) };
        ObserveBatch();
    }

    /// <summary>Changes the micro batch and with it the train batch; accumulation stays. The data loader keeps its own
    /// micro batch: give the engine another one with <see cref="SetDataLoader"/>.</summary>
    /// <param name="microBatchSize">Samples per forward on one rank, at least 1.</param>
    /// <exception cref="InvalidOperationException">In the middle of a step.</exception>
    public void SetTrainMicroBatchSize(int microBatchSize)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(microBatchSize, 1);
        ThrowIfMidStep(nameof(SetTrainMicroBatchSize));
        int train = checked(microBatchSize * Batch.GradientAccumulationSteps * Batch.WorldSize);
        Batch = Batch with { TrainBatchSize = train, MicroBatchSize = microBatchSize };
        ObserveBatch();
    }

    /// <summary>Makes a data loader for this engine's ranks and micro batch.</summary>
    /// <typeparam name="TBatch">What a micro batch is.</typeparam>
    /// <param name="data">The samples.</param>
    /// <param name="shuffleSeed">Seed of the order; null reads in order.</param>
    /// <returns>The loader; to be resumed with checkpoints, give it to <see cref="SetDataLoader"/>.</returns>
    public DataLoader<TBatch> DeepSpeedIo<TBatch>(ITrainingData<TBatch> data, long? shuffleSeed = null) =>
        DeepSpeed.Loader(data, Batch, Group, _config, shuffleSeed);

    /// <summary>Makes checkpoints keep and restore the place of this loader.</summary>
    /// <param name="loader">The loader that training reads from.</param>
    public void SetDataLoader(IDataPosition loader) => _data = loader;

    /// <summary>Puts the model in training mode.</summary>
    /// <param name="mode">False is the same as <see cref="Eval"/>.</param>
    public void Train(bool mode = true) => Module.train(mode);

    /// <summary>Puts the model in evaluation mode.</summary>
    public void Eval() => Module.eval();

    /// <summary>Asks all ranks to stop; they learn of it together, in the metrics of the same step.</summary>
    /// <remarks>May be called from any thread, for example a signal handler.</remarks>
    public void RequestStop() => Volatile.Write(ref _stopRequested, true);

    /// <summary>The engine's state as text, for debugging (<c>dump_state</c> prints it at the start).</summary>
    public string DumpState()
    {
        Settle();
        var text = new StringBuilder();
        text.AppendLine(CultureInfo.InvariantCulture, $"rank {GlobalRank} of {WorldSize} (local rank {LocalRank}) on {Device}, {Precision}");
        text.AppendLine(CultureInfo.InvariantCulture, $"batch {Batch.TrainBatchSize} = {Batch.MicroBatchSize} (micro batch) x {Batch.GradientAccumulationSteps} (accumulation) x {WorldSize} (ranks)");
        text.AppendLine(CultureInfo.InvariantCulture, $"global steps {GlobalSteps}, skipped {SkippedStepsNow}, micro steps {MicroSteps}, samples {GlobalSamples}, loss scale {_lossScaler.Scale}");
        text.AppendLine(CultureInfo.InvariantCulture, $"ZeRO stage {_config.Zero.Stage}, model states {ModelStateBytes:#,0} bytes on this rank");
        foreach (ParameterGroup group in Optimizer.ParameterGroups)
        {
            text.AppendLine(CultureInfo.InvariantCulture, $"{Optimizer.Name}, group {group.Name}: {group.Slots.Count} parameters, {group.Slots.Sum(s => s.Elements):#,0} values, "
                + $"learning rate {group.LearningRate}, weight decay {group.WeightDecay}");
        }

        foreach (ParameterSlot slot in _parameters.Slots)
        {
            text.AppendLine(CultureInfo.InvariantCulture, $"  {slot.Name} [{string.Join(", ", slot.Shape)}]");
        }

        return text.ToString().TrimEnd();
    }

    /// <summary>Frees the flat buffers; the model must not be used afterwards. DeepSpeed's <c>destroy</c>.</summary>
    public void Dispose()
    {
        if (_disposed)
        {
            return;
        }

        _disposed = true;
        try
        {
            Settle(); // the last step has its place in the reports
        }
        catch (Exception e) when (e is LossScaleException or InvalidOperationException)
        {
            // Training has ended; whoever asked for the metrics of that step has seen why.
        }

        _saver.Dispose();
        _moved?.Dispose();
        _reloaded?.Dispose();
        _observer?.Dispose();
        _zero.Dispose();
        Optimizer.Dispose();
        _scale.Dispose();
        _report.Dispose();
        _parameters.Dispose();
    }

    private void ObserveBatch()
    {
        if (_observer is not null)
        {
            _observer.Batch = Batch;
        }
    }

    private double[] CurrentRates() => [.. Optimizer.ParameterGroups.Select(g => g.LearningRate)];

    private IReadOnlyList<double>[] CurrentMomentum() => [.. Optimizer.ParameterGroups.Select(g => (IReadOnlyList<double>)
        (g.Beta1 is not { } first ? [] : g.Beta2 is not { } second ? [first] : [first, second]))];

    // With a fixed scale there is nothing to wait for.
    private void SettleIfScaling()
    {
        if (_lossScaler.IsDynamic)
        {
            Settle();
        }
    }

    private void ThrowIfMidStep(string call)
    {
        if (_microBatch != 0)
        {
            throw new InvalidOperationException($"{call} was called after {_microBatch} of {Batch.GradientAccumulationSteps} "
                + "micro batches of a step; call it right after Step() has updated the parameters");
        }
    }
}

using System.Text.Json.Nodes;
using DeepSpeedSharp.Engine.Checkpoint;
using DeepSpeedSharp.Engine.Optim;
using DeepSpeedSharp.Engine.Zero;
using TorchSharp;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine;

/// <content>Saving and loading.</content>
public sealed partial class DeepSpeedEngine
{
    /// <summary>Saves everything needed to go on. Every rank must call this.</summary>
    /// <param name="directory">Folder of checkpoints, shared by all ranks.</param>
    /// <param name="tag">Name of this one; null means <c>global_step{steps}</c>.</param>
    /// <param name="clientState">The caller's own state; given back by <see cref="LoadCheckpoint"/>.</param>
    /// <param name="options">What else to do; null is DeepSpeed's defaults.</param>
    /// <returns>Folder of the checkpoint. An asynchronous one is there when the next call of a checkpoint method has returned,
    /// or <see cref="FinishCheckpoint"/> or <see cref="Dispose"/>.</returns>
    /// <exception cref="CheckpointException">It could not be written, or the asynchronous one before could not; an earlier one is
    /// untouched.</exception>
    public string SaveCheckpoint(string directory, string? tag = null, JsonObject? clientState = null, SaveCheckpointOptions? options = null)
    {
        ThrowIfMoved(nameof(SaveCheckpoint));
        Settle();
        options ??= new SaveCheckpointOptions();
        IReadOnlyList<(string State, Tensor Value)> random = RandomState.Get(Device);
        try
        {
            var state = new CheckpointState
            {
                GlobalSteps = GlobalSteps,
                GlobalSamples = GlobalSamples,
                SkippedSteps = SkippedStepsNow,
                Optimizer = Optimizer.Name,
                OptimizerSteps = Optimizer.Steps,
                ScheduleIteration = Schedule?.LastBatchIteration,
                Data = _data?.Place,
                LossScaler = _config.Fp16.Enabled ? _lossScaler.State : null,
                ClientState = clientState,
            };
            return _saver.Save(new SaveRequest(directory, tag ?? CheckpointDirectory.TagOf(GlobalSteps), _config.Zero.Stage, state.ToJson(),
                [
                    .. _parameters.PiecesToSave(null, _parameters.MasterState, Group),
                    .. Constants(isMine: Group.Rank == 0, options.ExcludeFrozenParameters),
                    .. Optimizer.States.SelectMany(s => _parameters.PiecesToSave(s.Name, s.State, Group)),
                    .. random.Select(r => StatePiece.Whole(ShardFiles.OwnName(Group.Rank), r.Value, state: r.State)),
                ], options));
        }
        finally
        {
            foreach ((_, Tensor value) in random)
            {
                value.Dispose();
            }
        }
    }

    /// <summary>Waits until a checkpoint that is saved asynchronously is complete; returns at once when none is. Every rank must
    /// call this.</summary>
    /// <exception cref="CheckpointException">It could not be written; an earlier one is untouched.</exception>
    public void FinishCheckpoint() => _saver.Finish();

    /// <summary>Folder of the last checkpoint of this engine that is complete; null before the first. Of one that is saved
    /// asynchronously the first rank knows at once, the others at the next call.</summary>
    public string? LastCheckpoint => _saver.Last;

    /// <summary>Goes on where a checkpoint was saved: parameters, optimizer, schedule, counters, data order and random
    /// numbers. Every rank must call this.</summary>
    /// <remarks>Any number of ranks and any ZeRO stage loads any checkpoint; each rank reads only what it needs. The caller's own
    /// scheduler is stepped to the place of the checkpoint. The state of the caller's own optimizer is not in a checkpoint:
    /// it starts anew, and a warning says so.</remarks>
    /// <param name="directory">Folder of checkpoints.</param>
    /// <param name="tag">Name of the checkpoint; null takes the one named by the file <c>latest</c>.</param>
    /// <param name="options">What to restore; null is everything.</param>
    /// <returns>Folder of the checkpoint and the caller's state; both null when there is no checkpoint.</returns>
    /// <exception cref="CheckpointException">It is damaged, or belongs to another model or optimizer; or there is none and
    /// <c>checkpoint.load_universal</c> asks for one.</exception>
    public (string? Path, JsonObject? ClientState) LoadCheckpoint(string directory, string? tag = null, LoadCheckpointOptions? options = null)
    {
        ThrowIfMoved(nameof(LoadCheckpoint));
        Settle();
        _saver.Finish();
        options ??= new LoadCheckpointOptions();
        var target = new LoadTarget(
            [.. _parameters.Pieces(null, _parameters.MasterState), .. Constants(isMine: true, excludesFrozen: false)],
            [.. Optimizer.States.SelectMany(s => _parameters.Pieces(s.Name, s.State))], Optimizer.Name, SetWhole);
        if (new CheckpointLoader(Group, Device, _warn).Load(directory, tag, options, target) is not { } loaded)
        {
            return !_config.Checkpoint.LoadUniversal ? (null, null) : throw new CheckpointException(
                $"there is no checkpoint in {directory}, and checkpoint.load_universal asks for one; give its folder, or use false");
        }

        _parameters.RoundMasters(_config.Zero.Stage == 0 || _config.Zero.LoadFromFp32Weights);
        _zero.GatherWeights();
        if (options.LoadModuleOnly)
        {
            return (loaded.Folder, CheckpointState.From(loaded.Folder, loaded.Manifest.State).ClientState);
        }

        CheckpointState state = CheckpointState.From(loaded.Folder, loaded.Manifest.State);
        Restore(state, options);
        return (loaded.Folder, state.ClientState);
    }

    private void Restore(CheckpointState state, LoadCheckpointOptions options)
    {
        (GlobalSteps, GlobalSamples, SkippedStepsNow) = (state.GlobalSteps, state.GlobalSamples, state.SkippedSteps);
        if (options.LoadOptimizerStates)
        {
            Optimizer.RestoreSteps(state.OptimizerSteps);
            _parameters.Offload?.RestoreSteps(state.OptimizerSteps);
            WarnOfClientOptimizer();
        }

        if (options.LoadLrSchedulerStates)
        {
            if (Schedule is not null)
            {
                Schedule.LastBatchIteration = state.ScheduleIteration ?? GlobalSteps - SkippedStepsNow - 1;
            }

            ResumeClientSchedule(GlobalSteps - SkippedStepsNow);
        }

        if (state.LossScaler is { } scaler && options.LoadOptimizerStates)
        {
            _lossScaler.Restore(scaler);
        }

        ApplySchedule();
        ZeroGrad();
        (LastStepApplied, LastGradientNorm) = (false, null);
        MicroSteps = GlobalSteps * Batch.GradientAccumulationSteps;
        _microBatch = 0;
        if (_data is not null)
        {
            // A checkpoint stands between two steps; its place in the data means the same for any number of ranks.
            // Earlier releases kept none, and read in an order in which the number of samples is the place.
            if (state.Data is { } place)
            {
                _data.Place = place;
            }
            else
            {
                _data.Position = GlobalSamples / ((long)Batch.MicroBatchSize * Batch.WorldSize);
            }
        }
    }

    // Frozen parameters and buffers, which every rank has whole.
    private IEnumerable<StatePiece> Constants(bool isMine, bool excludesFrozen) => _parameters.Constants
        .Skip(excludesFrozen ? _parameters.FrozenCount : 0).Select(c => StatePiece.Whole(c.Name, c.Tensor, isMine));

    private void SetWhole(string name, Tensor value)
    {
        IReadOnlyList<long> shape;
        Action<Tensor> set;
        if (_parameters.Slots.FirstOrDefault(s => s.Name == name) is { } slot)
        {
            (shape, set) = (slot.Shape, v => _parameters.SetValue(slot, v));
        }
        else if (_parameters.Constants.FirstOrDefault(c => c.Name == name) is { Name: not null } constant)
        {
            (shape, set) = (constant.Tensor.shape, v => constant.Tensor.copy_(v));
        }
        else
        {
            throw new CheckpointException($"CustomLoad gives {name}, which is not in the model");
        }

        if (!value.shape.SequenceEqual(shape))
        {
            throw new CheckpointException($"CustomLoad gives {name} as [{string.Join(", ", value.shape)}], the model has [{string.Join(", ", shape)}]");
        }

        set(value);
    }

    // Neither it nor a scheduler can be asked for its state, but a scheduler is a function of how often it was stepped.
    private void WarnOfClientOptimizer()
    {
        if (Optimizer is ClientOptimizer)
        {
            _warn($"the state of {Optimizer.Name}, such as moments, is not in the checkpoint and starts anew; "
                + "name an optimizer in the config to keep it");
        }
    }

    private void ResumeClientSchedule(long appliedSteps)
    {
        if (_clientSchedule is not null && _clientScheduleSteps > appliedSteps)
        {
            _warn($"the scheduler object has been stepped {_clientScheduleSteps} times and cannot go back to step {appliedSteps} "
                + "of the checkpoint; load a checkpoint before training begins");
        }

        while (_clientSchedule is not null && _clientScheduleSteps < appliedSteps)
        {
            StepClientSchedule();
        }
    }

    /// <summary>Writes the weights alone, in the type the model computes with, for inference. Every rank must call this.</summary>
    /// <param name="directory">Folder, shared by all ranks; created when missing.</param>
    /// <param name="fileName">Name of the safetensors file.</param>
    /// <returns>Path of the file.</returns>
    /// <exception cref="CheckpointException">It could not be written.</exception>
    /// <exception cref="InvalidOperationException">In ZeRO stage 3, <c>stage3_gather_16bit_weights_on_model_save</c> is false.</exception>
    public string Save16BitModel(string directory, string fileName = "model.safetensors")
    {
        ThrowIfMoved(nameof(Save16BitModel));
        Settle();
        if (_config.Zero is { Stage: 3, Stage3.Gather16BitWeightsOnModelSave: false })
        {
            throw new InvalidOperationException("in ZeRO stage 3 no rank has the weights, and zero_optimization.stage3_gather_16bit_weights_on_model_save "
                + "is false: set it to true to have them gathered, one parameter at a time, as they are written; or SaveCheckpoint");
        }

        var weights = new WeightsInTurn(_parameters.Partitioned); // none below stage 3
        return WeightsFile.Save(directory, fileName, Group, () =>
        [
            .. _parameters.Slots.Select((slot, i) => new StatePiece(null, slot.Name, slot.Shape, new ElementRange(0, slot.Elements))
            {
                Type = _parameters.OwnWeights.dtype,
                Read = part => _config.Zero.Stage == 3 ? weights.Read(i, part) : _parameters.Weights.narrow(0, slot.Offset + part.Start, part.Length),
                Write = (_, _) => throw new NotSupportedException("weights are only read here"),
            }),
            .. Constants(isMine: true, excludesFrozen: false),
        ], weights);
    }

    /// <summary>The model's parameters and buffers by name, as the model computes with them.</summary>
    /// <returns>Views of the engine's buffers; the caller disposes them.</returns>
    /// <exception cref="InvalidOperationException">In ZeRO stage 3, where no rank has them.</exception>
    public IReadOnlyDictionary<string, Tensor> ModuleStateDict()
    {
        ThrowIfMoved(nameof(ModuleStateDict));
        return _config.Zero.Stage == 3
            ? throw new InvalidOperationException("in ZeRO stage 3 no rank has the parameters: read them inside DeepSpeed.Zero.GatheredParameters, "
                + "or write them with Save16BitModel or SaveCheckpoint")
            : _parameters.Slots
            .Select(slot => (slot.Name, Tensor: FlatParameters.View(_parameters.Weights, slot)))
            .Concat(_parameters.Constants.Select(c => (c.Name, Tensor: c.Tensor.alias())))
            .ToDictionary(pair => pair.Name, pair => pair.Tensor);
    }

    /// <summary>Replaces the model's values. Every rank must call this, with the same values.</summary>
    /// <param name="state">Tensors by name, in any floating type.</param>
    /// <param name="strict">False tolerates missing and unexpected names.</param>
    /// <exception cref="ArgumentException">A name is missing or unexpected, or a shape differs; all are listed.</exception>
    public void LoadModuleStateDict(IReadOnlyDictionary<string, Tensor> state, bool strict = true)
    {
        ThrowIfMoved(nameof(LoadModuleStateDict));
        using DisposeScope scope = NewDisposeScope();
        using IDisposable noGrad = no_grad();
        (string Name, IReadOnlyList<long> Shape, Action<Tensor> Set)[] targets =
        [
            .. _parameters.Slots.Select(slot => (slot.Name, slot.Shape, (Action<Tensor>)(value => _parameters.SetValue(slot, value)))),
            .. _parameters.Constants.Select(c => (c.Name, (IReadOnlyList<long>)c.Tensor.shape, (Action<Tensor>)(value => c.Tensor.copy_(value)))),
        ];
        string[] problems =
        [
            .. strict ? targets.Where(t => !state.ContainsKey(t.Name)).Select(t => $"{t.Name} is missing") : [],
            .. strict ? state.Keys.Except(targets.Select(t => t.Name)).Select(name => $"{name} is not in the model") : [],
            .. targets.Where(t => state.ContainsKey(t.Name) && !state[t.Name].shape.SequenceEqual(t.Shape))
                .Select(t => $"{t.Name} is [{string.Join(", ", state[t.Name].shape)}], the model has [{string.Join(", ", t.Shape)}]"),
        ];
        if (problems.Length > 0)
        {
            throw new ArgumentException($"the values do not fit the model: {string.Join("; ", problems)}", nameof(state));
        }

        foreach ((string name, _, Action<Tensor> set) in targets.Where(t => state.ContainsKey(t.Name)))
        {
            set(state[name]);
        }
    }
}

namespace DeepSpeedSharp.Config;

/// <summary>What a config may ask for, and the engine of this release cannot do.</summary>
/// <remarks>A config is right or wrong by DeepSpeed's rules, whoever trains with it. Everything that starts a training
/// asks here too, before it takes resources: the engine, the launcher and the operator.</remarks>
public static class EngineLimits
{
    /// <summary>Every setting that the engine cannot honour.</summary>
    /// <param name="config">A config without problems.</param>
    /// <returns>One problem for each, in the order of the config reference; empty when the engine can train with it.</returns>
    public static IReadOnlyList<ConfigError> Problems(DeepSpeedConfig config)
    {
        var errors = new ConfigErrors();
        AddGeneral(config, errors);
        AddOptimizer(config, errors);
        AddPrecision(config, errors);
        AddZero(config, errors);
        AddSections(config, errors);
        return errors.All;
    }

    /// <summary>Every value "auto" that is still unknown when training starts.</summary>
    /// <param name="config">A config without problems.</param>
    /// <returns>One problem for each.</returns>
    public static IReadOnlyList<ConfigError> UnresolvedAuto(DeepSpeedConfig config) =>
        [.. config.UnresolvedAuto.Select(path => new ConfigError(path, "\"auto\" is for a trainer to fill, and none did",
            path.EndsWith("_bucket_size", StringComparison.Ordinal) || path.EndsWith("_threshold", StringComparison.Ordinal)
                ? "write a number of elements, or give the model's hidden size (TrainerArguments.HiddenSize)"
                : "write the value, or give the trainer's argument (TrainerArguments)"))];

    /// <summary>Refuses a config that the engine cannot train with.</summary>
    /// <param name="config">A config without problems.</param>
    /// <param name="subject">What to call it in the message.</param>
    /// <exception cref="ConfigException">It asks for something unsupported, or has an "auto" that nobody filled.</exception>
    public static void ThrowIfAny(DeepSpeedConfig config, string subject = "the DeepSpeed config")
    {
        IReadOnlyList<ConfigError> problems = [.. Problems(config), .. UnresolvedAuto(config)];
        if (problems.Count > 0)
        {
            throw new ConfigException(subject, problems);
        }
    }

    private static void AddGeneral(DeepSpeedConfig config, ConfigErrors errors)
    {
        NotYet(errors, config.DisableAllGather, "disable_allgather", "remove it");
        NotYet(errors, config.GraphHarvesting, "graph_harvesting", "remove it");
        NotYet(errors, config.UseDataBeforeExpertParallelism, "use_data_before_expert_parallelism",
            "remove it; there is no expert parallelism");
        NotYet(errors, config.SequenceParallelSize > 1, "sequence_parallel_size", "use 1");
        NotYet(errors, config.DataParallelSize > 1, "data_parallel_size", "remove it; all ranks are data-parallel");
        NotYet(errors, config.LogLevel is not null, "log_level", "remove it");
    }

    private static void AddOptimizer(DeepSpeedConfig config, ConfigErrors errors)
    {
        if (config.Optimizer is not { } optimizer)
        {
            return;
        }

        if (optimizer.Params.MaxGradNorm is not null)
        {
            errors.Add("optimizer.params.max_grad_norm", "clipping is not an optimizer parameter",
                "write \"gradient_clipping\" at the top level instead");
        }

        NotYet(errors, optimizer.Params is AdamParams { Fp32OptimizerStates: false }, "optimizer.params.fp32_optimizer_states",
            "remove it");
    }

    private static void AddPrecision(DeepSpeedConfig config, ConfigErrors errors)
    {
        NotYet(errors, config.Fp16.MasterWeightsAndGrads, "fp16.fp16_master_weights_and_grads", "remove it");
        NotYet(errors, config.Bf16.MasterWeightsAndGrads, "bf16.bf16_master_weights_and_grads", "remove it");
        NotYet(errors, config.Bf16.OptimizerStates, "bf16.bf16_optimizer_states", "remove it");
        TrainingDataType model = config.Fp16.Enabled ? TrainingDataType.Fp16 : config.Bf16.Enabled ? TrainingDataType.Bf16 : TrainingDataType.Fp32;
        if (config.DataTypes.GradAccumDtype is { } gradients && gradients != model && gradients != TrainingDataType.Fp32)
        {
            errors.Add("data_types.grad_accum_dtype", $"{Name(gradients)} gradients of {Name(model)} parameters are not supported",
                model == TrainingDataType.Fp32 ? "use \"fp32\", or remove it" : $"use \"{Name(model)}\" or \"fp32\"");
        }

        if (config.Amp.Enabled)
        {
            errors.Add("amp.enabled", "mixed precision by Apex is not supported", "use \"bf16\" or \"fp16\"");
        }
    }

    private static void AddZero(DeepSpeedConfig config, ConfigErrors errors)
    {
        ZeroConfig zero = config.Zero;
        AddOffload(config, errors);
        if (zero.LegacyStage1)
        {
            errors.Add("zero_optimization.legacy_stage1", "the first version of stage 1 does not exist any more", "remove it");
        }

        NotYet(errors, zero.EnableSanityChecks && zero.Stage < 3, "zero_optimization.enable_sanity_checks", "remove it, or use stage 3");
        NotYet(errors, zero.Stage3.PipelineLoadingCheckpoint && zero.Stage == 3, "zero_optimization.pipeline_loading_checkpoint", "use false");
        AddZeroPlusPlus(zero.PlusPlus, errors);
        if (zero.Stage == 0)
        {
            return;
        }

        if (config.Optimizer is { Params: LambParams or MuonParams } optimizer)
        {
            errors.Add("optimizer.type", $"{optimizer.Type} looks at whole parameters, and under ZeRO a rank has shards of them only "
                + "(zero_allow_untested_optimizer does not change that)",
                "use Adam, AdamW, Lion, Adagrad or SGD, or zero_optimization.stage 0");
        }

        if (config.SparseGradients)
        {
            errors.Add("sparse_gradients", "gradients are not reduced by rows under ZeRO", "remove it, or use zero_optimization.stage 0");
        }
    }

    private static void AddOffload(DeepSpeedConfig config, ConfigErrors errors)
    {
        if (config.Zero.OffloadOptimizer is not { Device: not OffloadDevice.None } offload)
        {
            return;
        }

        const string Path = "zero_optimization.offload_optimizer";
        if (config.Zero.Stage == 0)
        {
            errors.Add(Path, "the optimizer's state can be offloaded in stages 1 to 3, and this is stage 0",
                "use \"stage\": 1 or more, also with one rank, or remove it");
        }

        if (offload.SuperOffload)
        {
            errors.Add($"{Path}.super_offload", "SuperOffload, for a GPU and a CPU that share one memory, is not supported",
                "remove it; \"device\": \"cpu\" overlaps the copies with the update");
        }

        if (config.Optimizer is not { } optimizer)
        {
            return;
        }

        bool hasOwn = optimizer.Params is AdamParams { TorchAdam: false } or AdagradParams or LionParams;
        if (!hasOwn && config.ZeroForceCpuOptimizer && optimizer.Params is AdamParams or SgdParams)
        {
            errors.Add("optimizer.type", $"{(optimizer.Params is AdamParams ? "torch_adam" : optimizer.Type)} has no fast update on the CPU, where "
                + "the optimizer is offloaded to", "use Adam, AdamW, Lion or Adagrad without torch_adam, or set \"zero_force_ds_cpu_optimizer\": false");
        }

        int buffers = 2 + (optimizer.Params is AdamParams ? 2 : 1); // a piece of the values, the gradients and each state
        if (offload.Device == OffloadDevice.Nvme && offload.BufferCount < buffers)
        {
            errors.Add($"{Path}.buffer_count", $"{optimizer.Type} needs {buffers} buffers at a time, and there are to be {offload.BufferCount}",
                $"use {buffers} or more");
        }
    }

    private static void AddZeroPlusPlus(ZeroPlusPlusConfig plus, ConfigErrors errors)
    {
        const string Fix = "remove it";
        NotYet(errors, plus.HpzPartitionSize > 1, "zero_optimization.zero_hpz_partition_size", Fix);
        NotYet(errors, plus.QuantizedWeights, "zero_optimization.zero_quantized_weights", Fix);
        NotYet(errors, plus.QuantizedNontrainableWeights, "zero_optimization.zero_quantized_nontrainable_weights", Fix);
        NotYet(errors, plus.QuantizedGradients, "zero_optimization.zero_quantized_gradients", Fix);
        NotYet(errors, plus.Loco is not null, "zero_optimization.zeropp_loco_param", Fix);
        NotYet(errors, plus.MicsShardSize > 0, "zero_optimization.mics_shard_size", Fix);
        NotYet(errors, plus.MicsHierarchicalParamsGather, "zero_optimization.mics_hierarchical_params_gather", Fix);
    }

    private static void AddSections(DeepSpeedConfig config, ConfigErrors errors)
    {
        ActivationCheckpointingConfig checkpointing = config.ActivationCheckpointing;
        NotYet(errors, checkpointing.PartitionActivations, "activation_checkpointing.partition_activations",
            "use false; inputs are not split, as every rank holds the whole model");
        NotYet(errors, checkpointing.ContiguousMemoryOptimization, "activation_checkpointing.contiguous_memory_optimization",
            "use false");
        NotYet(errors, checkpointing.SynchronizeCheckpointBoundary, "activation_checkpointing.synchronize_checkpoint_boundary",
            "use false");
        NotYet(errors, checkpointing.Profile, "activation_checkpointing.profile", "use false");
        NotYet(errors, config.Checkpoint.UseNodeLocalStorage, "checkpoint.use_node_local_storage",
            "use false, and a folder that all nodes share");
        NotYet(errors, config.Checkpoint.ParallelWrite.PipelineStage, "checkpoint.parallel_write.pipeline_stage", "use false");
        AddCheckpointWriter(config.Checkpoint.Writer, errors);
        if (!config.Checkpoint.CheckpointSerialization)
        {
            errors.Add("checkpoint.checkpoint_serialization", "checkpoints are safetensors files, not PyTorch's", "remove it");
        }

        NotYet(errors, config.Elasticity is { Enabled: true, ModelParallelSize: > 1 }, "elasticity.model_parallel_size", "use 1",
            "a model over several ranks");
        NotYet(errors, config.AsyncIO.UseGds, "aio.use_gds", "use false");
    }

    private static void AddCheckpointWriter(CheckpointWriterConfig writer, ConfigErrors errors)
    {
        if (writer.Type == CheckpointWriterType.Mock)
        {
            errors.Add("checkpoint.writer.type", "a checkpoint that is not written is none", "use \"FAST\"");
        }

        NotYet(errors, writer.DataParallel is CheckpointDataParallel.Socket or CheckpointDataParallel.Machine,
            "checkpoint.writer.data_parallel", "use \"replica\": all ranks write");
        NotYet(errors, writer.IoMultiplier > 1, "checkpoint.writer.io_multiplier", "use 1");
    }

    private static string Name(TrainingDataType type) => type.ToString().ToLowerInvariant();

    private static void NotYet(ConfigErrors errors, bool isAsked, string path, string fix, string? what = null)
    {
        if (isAsked)
        {
            errors.Add(path, $"{what ?? "this setting"} is not supported yet", fix);
        }
    }
}

namespace DeepSpeedSharp.Config;

/// <summary>What a trainer was asked for besides the config: it fills "auto" and missing keys, and must not contradict
/// the others. A null was not asked for.</summary>
/// <remarks>The names are those of Hugging Face's training arguments. A value "auto" whose argument is null takes that
/// trainer's default, where it has one; <see cref="HiddenSize"/> has none.</remarks>
public sealed record TrainerArguments
{
    /// <summary>Samples per forward on one rank (<c>per_device_train_batch_size</c>); 8 for "auto".</summary>
    public int? PerDeviceTrainBatchSize { get; init; }

    /// <summary>Micro batches per optimizer step (<c>gradient_accumulation_steps</c>); 1 for "auto".</summary>
    public int? GradientAccumulationSteps { get; init; }

    /// <summary>Largest global gradient norm (<c>max_grad_norm</c>); 1 for "auto".</summary>
    public double? MaxGradNorm { get; init; }

    /// <summary>Learning rate (<c>learning_rate</c>); 5e-5 for "auto". Without an optimizer in the config it asks for AdamW.</summary>
    public double? LearningRate { get; init; }

    /// <summary>Decay of the first moment (<c>adam_beta1</c>); 0.9 for "auto".</summary>
    public double? AdamBeta1 { get; init; }

    /// <summary>Decay of the second moment (<c>adam_beta2</c>); 0.999 for "auto".</summary>
    public double? AdamBeta2 { get; init; }

    /// <summary>Added to the denominator (<c>adam_epsilon</c>); 1e-8 for "auto".</summary>
    public double? AdamEpsilon { get; init; }

    /// <summary>Weight decay (<c>weight_decay</c>); 0 for "auto".</summary>
    public double? WeightDecay { get; init; }

    /// <summary>Schedule when the config has none (<c>lr_scheduler_type</c>).</summary>
    public TrainerSchedule? LearningRateScheduler { get; init; }

    /// <summary>Optimizer steps of warm-up (<c>warmup_steps</c>); none for "auto".</summary>
    public int? WarmupSteps { get; init; }

    /// <summary>Optimizer steps of the whole run. Fills the length of a schedule, but may differ from one that is
    /// written: a run may be a part of a longer schedule.</summary>
    public long? TotalSteps { get; init; }

    /// <summary>Whether to train in fp16 (<c>fp16</c>); false for "auto".</summary>
    public bool? Fp16 { get; init; }

    /// <summary>Whether to train in bf16 (<c>bf16</c>); false for "auto".</summary>
    public bool? Bf16 { get; init; }

    /// <summary>Width h of the model: bucket sizes are h*h, prefetch 0.9*h*h and the persistence threshold 10*h.</summary>
    public long? HiddenSize { get; init; }

    /// <summary>Whether checkpoints of stage 3 hold the whole 16-bit model; false for "auto".</summary>
    public bool? Gather16BitWeightsOnModelSave { get; init; }

    /// <summary>Data-parallel ranks; when known, the batch sizes are checked together with everything else.</summary>
    public int? WorldSize { get; init; }
}

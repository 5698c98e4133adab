using System.Text.Json.Serialization;

namespace DeepSpeedSharp.Config;

/// <summary>How gradients of the ranks are joined.</summary>
[JsonConverter(typeof(JsonStringEnumConverter<GradientAllReduceOp>))]
public enum GradientAllReduceOp
{
    /// <summary>Their mean.</summary>
    [JsonStringEnumMemberName("mean")]
    Mean,

    /// <summary>Their sum.</summary>
    [JsonStringEnumMemberName("sum")]
    Sum,
}

/// <summary>The DeepSpeed JSON config: what to train with, checked once and immutable from then on.</summary>
/// <remarks>
/// Key names, defaults and meanings follow DeepSpeed's config reference; docs/config.md has all of them. A key that
/// does not exist is refused with the nearest one that does. A config can be right and still ask for something that
/// the engine of this release cannot do: <see cref="EngineLimits"/> knows.
/// </remarks>
public sealed partial record DeepSpeedConfig
{
    /// <summary>The three batch numbers as written; <see cref="BatchPlan"/> derives what is missing.</summary>
    [JsonIgnore]
    public BatchConfig Batch { get; init; } = new();

    /// <summary>Print progress every this many optimizer steps; null leaves it to the program.</summary>
    [JsonPropertyName("steps_per_print")]
    public int? StepsPerPrint { get; init; }

    /// <summary>Largest global L2 norm of the gradients; 0 turns clipping off. DeepSpeed's default is 1.0.</summary>
    [JsonPropertyName("gradient_clipping")]
    public double GradientClipping { get; init; } = 1.0;

    /// <summary>Divides gradients before instead of after they are summed over ranks.</summary>
    [JsonPropertyName("prescale_gradients")]
    public bool PrescaleGradients { get; init; }

    /// <summary>Part of the division that happens before the sum when <see cref="PrescaleGradients"/> is off.</summary>
    [JsonPropertyName("gradient_predivide_factor")]
    public double GradientPredivideFactor { get; init; } = 1.0;

    /// <summary>Mean or sum of the ranks' gradients.</summary>
    [JsonPropertyName("gradient_allreduce_op")]
    public GradientAllReduceOp GradientAllReduceOp { get; init; }

    /// <summary>Format in which gradients travel; null follows the precision mode.</summary>
    [JsonPropertyName("communication_data_type")]
    public TrainingDataType? CommunicationDataType { get; init; }

    /// <summary>Format in which gradients travel between sequence-parallel ranks.</summary>
    [JsonPropertyName("seq_parallel_communication_data_type")]
    public TrainingDataType SequenceParallelCommunicationDataType { get; init; }

    /// <summary>Reduces gradients of embeddings as rows and indices.</summary>
    [JsonPropertyName("sparse_gradients")]
    public bool SparseGradients { get; init; }

    /// <summary>Broadcasts updated parameters instead of gathering them.</summary>
    [JsonPropertyName("disable_allgather")]
    public bool DisableAllGather { get; init; }

    /// <summary>Times forward, backward and step; the flops profiler turns it on too.</summary>
    [JsonPropertyName("wall_clock_breakdown")]
    public bool WallClockBreakdown { get; init; }

    /// <summary>Prints memory in use at the borders of each phase.</summary>
    [JsonPropertyName("memory_breakdown")]
    public bool MemoryBreakdown { get; init; }

    /// <summary>Prints the engine's state at the start.</summary>
    [JsonPropertyName("dump_state")]
    public bool DumpState { get; init; }

    /// <summary>Level of DeepSpeed's logger; null leaves it.</summary>
    [JsonPropertyName("log_level")]
    public string? LogLevel { get; init; }

    /// <summary>Leaves out the last samples when they do not fill a batch.</summary>
    [JsonPropertyName("dataloader_drop_last")]
    public bool DataLoaderDropLast { get; init; }

    /// <summary>False: every step updates the parameters, and the caller decides when to call it.</summary>
    [JsonPropertyName("managed_gradient_accumulation")]
    public bool ManagedGradientAccumulation { get; init; } = true;

    /// <summary>Size of the vocabulary, for a hint when it is slow on GPUs.</summary>
    [JsonPropertyName("vocabulary_size")]
    public int? VocabularySize { get; init; }

    /// <summary>Ranks that share one sequence.</summary>
    [JsonPropertyName("sequence_parallel_size")]
    public int SequenceParallelSize { get; init; } = 1;

    /// <summary>Data-parallel ranks of a two-dimensional mesh; null is all ranks.</summary>
    [JsonPropertyName("data_parallel_size")]
    public int? DataParallelSize { get; init; }

    /// <summary>Lays groups of data-parallel ranks out before those of experts.</summary>
    [JsonPropertyName("use_data_before_expert_parallelism")]
    public bool UseDataBeforeExpertParallelism { get; init; }

    /// <summary>Captures parts of the step as CUDA graphs.</summary>
    [JsonPropertyName("graph_harvesting")]
    public bool GraphHarvesting { get; init; }

    /// <summary>Lets ZeRO run with optimizers it was not tested with.</summary>
    [JsonPropertyName("zero_allow_untested_optimizer")]
    public bool ZeroAllowUntestedOptimizer { get; init; }

    /// <summary>Accepts only DeepSpeed's own CPU optimizers when the optimizer is offloaded.</summary>
    [JsonPropertyName("zero_force_ds_cpu_optimizer")]
    public bool ZeroForceCpuOptimizer { get; init; } = true;

    /// <summary>Bucket size of the form <c>"zero_optimization": true</c>; null is DeepSpeed's 5e8.</summary>
    [JsonPropertyName("allgather_size")]
    public long? AllGatherSize { get; init; }

    /// <summary>The optimizer, or null when the caller brings one.</summary>
    [JsonPropertyName("optimizer")]
    public OptimizerConfig? Optimizer { get; init; }

    /// <summary>The learning-rate schedule, or null for a constant rate.</summary>
    [JsonPropertyName("scheduler")]
    public ScheduleConfig? Scheduler { get; init; }

    /// <summary>Half precision.</summary>
    [JsonPropertyName("fp16")]
    public Fp16Config Fp16 { get; init; } = new();

    /// <summary>Bfloat16.</summary>
    [JsonPropertyName("bf16")]
    public Bf16Config Bf16 { get; init; } = new();

    /// <summary>Mixed precision by Apex.</summary>
    [JsonPropertyName("amp")]
    public AmpConfig Amp { get; init; } = new();

    /// <summary>Formats of parameters, buffers and summed gradients.</summary>
    [JsonPropertyName("data_types")]
    public DataTypesConfig DataTypes { get; init; } = new();

    /// <summary>Sharding of training state.</summary>
    [JsonPropertyName("zero_optimization")]
    public ZeroConfig Zero { get; init; } = new();

    /// <summary>Recomputation of activations.</summary>
    [JsonPropertyName("activation_checkpointing")]
    public ActivationCheckpointingConfig ActivationCheckpointing { get; init; } = new();

    /// <summary>Counting the work of a step.</summary>
    [JsonPropertyName("flops_profiler")]
    public FlopsProfilerConfig FlopsProfiler { get; init; } = new();

    /// <summary>Metrics for TensorBoard.</summary>
    [JsonPropertyName("tensorboard")]
    public TensorBoardConfig TensorBoard { get; init; } = new();

    /// <summary>Metrics as CSV files.</summary>
    [JsonPropertyName("csv_monitor")]
    public CsvMonitorConfig CsvMonitor { get; init; } = new();

    /// <summary>Times of collectives.</summary>
    [JsonPropertyName("comms_logger")]
    public CommsLoggerConfig CommsLogger { get; init; } = new();

    /// <summary>Measuring throughput.</summary>
    [JsonPropertyName("timers")]
    public TimersConfig Timers { get; init; } = new();

    /// <summary>Saving and loading.</summary>
    [JsonPropertyName("checkpoint")]
    public CheckpointConfig Checkpoint { get; init; } = new();

    /// <summary>Batch sizes that fit many numbers of ranks.</summary>
    [JsonPropertyName("elasticity")]
    public ElasticityConfig Elasticity { get; init; } = new();

    /// <summary>Files of offloaded state.</summary>
    [JsonPropertyName("aio")]
    public AsyncIOConfig AsyncIO { get; init; } = new();

    /// <summary>Paths of the values "auto" that nobody filled; their properties hold the defaults.</summary>
    [JsonIgnore]
    public IReadOnlyList<string> UnresolvedAuto { get; init; } = ValueList.Of<string>();
}

using System.Text.Json;
using System.Text.Json.Serialization;

namespace DeepSpeedSharp.Config;

/// <summary>The DeepSpeed JSON config: what to train with, checked once and immutable from then on.</summary>
/// <remarks>
/// Key names and meanings follow DeepSpeed's config reference. A key of DeepSpeed that this release does not honour
/// is refused by name; a key that does not exist is refused with the nearest one that does.
/// </remarks>
public sealed record DeepSpeedConfig
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

    /// <summary>The optimizer, or null when the caller brings one.</summary>
    [JsonPropertyName("optimizer")]
    public OptimizerConfig? Optimizer { get; init; }

    /// <summary>The learning-rate schedule, or null for a constant rate.</summary>
    [JsonPropertyName("scheduler")]
    public ScheduleConfig? Scheduler { get; init; }

    /// <summary>Sharding of training state; only stage 0 exists in this release.</summary>
    [JsonPropertyName("zero_optimization")]
    public ZeroConfig Zero { get; init; } = new();

    /// <summary>Training in fp16.</summary>
    [JsonPropertyName("fp16")]
    public Fp16Config Fp16 { get; init; } = new();

    /// <summary>Training in bf16.</summary>
    [JsonPropertyName("bf16")]
    public Bf16Config Bf16 { get; init; } = new();

    /// <summary>Measures forward, backward, reduction and step.</summary>
    [JsonPropertyName("wall_clock_breakdown")]
    public bool WallClockBreakdown { get; init; }

    /// <summary>Reports the memory of process and device.</summary>
    [JsonPropertyName("memory_breakdown")]
    public bool MemoryBreakdown { get; init; }

    /// <summary>Counts and times the work of one step, module by module.</summary>
    [JsonPropertyName("flops_profiler")]
    public FlopsProfilerConfig FlopsProfiler { get; init; } = new();

    /// <summary>Metrics as TensorBoard event files.</summary>
    [JsonPropertyName("tensorboard")]
    public TensorBoardConfig TensorBoard { get; init; } = new();

    /// <summary>Metrics as CSV files.</summary>
    [JsonPropertyName("csv_monitor")]
    public CsvMonitorConfig CsvMonitor { get; init; } = new();

    /// <summary>Throughput measurement.</summary>
    [JsonPropertyName("timers")]
    public TimersConfig Timers { get; init; } = new();

    // Keys of DeepSpeed's config reference that this release does not honour.
    private static readonly string[] Planned =
    [
        "activation_checkpointing", "aio", "allgather_size", "amp", "autotuning", "bfloat16", "checkpoint", "comet",
        "comms_logger", "communication_data_type", "compile", "compression_training", "csv_monitor",
        "curriculum_learning", "data_efficiency", "data_parallel_size", "data_types", "dataloader_drop_last",
        "datastates_ckpt", "disable_allgather", "dump_state", "eigenvalue", "elasticity", "flops_profiler",
        "gradient_allreduce_op", "gradient_predivide_factor", "graph_harvesting", "hybrid_engine", "log_level",
        "managed_gradient_accumulation", "memory_breakdown", "nebula", "pipeline", "prescale_gradients",
        "progressive_layer_drop", "seq_parallel_communication_data_type", "sequence_parallel_size",
        "sparse_attention", "sparse_gradients", "tensor_parallel", "tensorboard", "timers", "torch_autocast",
        "use_data_before_expert_parallelism", "vocabulary_size", "wall_clock_breakdown", "wandb",
        "zero_allow_untested_optimizer", "zero_force_ds_cpu_optimizer",
    ];

    /// <summary>Reads a config file.</summary>
    /// <param name="path">The JSON file; comments and trailing commas are allowed.</param>
    /// <returns>The checked config.</returns>
    /// <exception cref="ConfigException">The file is missing or has problems; all of them are listed.</exception>
    public static DeepSpeedConfig Load(string path)
    {
        try
        {
            return Parse(File.ReadAllText(path), path);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new ConfigException(path, [new ConfigError("$", $"the file cannot be read: {e.Message}",
                "give the path of a DeepSpeed JSON config")]);
        }
    }

    /// <summary>Reads a config from JSON text.</summary>
    /// <param name="json">The JSON text.</param>
    /// <param name="subject">What to call the text in messages.</param>
    /// <returns>The checked config.</returns>
    /// <exception cref="ConfigException">The text has problems; all of them are listed.</exception>
    public static DeepSpeedConfig Parse(string json, string subject = "the DeepSpeed config")
    {
        var errors = new ConfigErrors();
        DeepSpeedConfig config = Read(json, errors);
        errors.ThrowIfAny(subject);
        return config;
    }

    /// <summary>Reads a config and collects its problems instead of throwing.</summary>
    /// <param name="json">The JSON text.</param>
    /// <param name="errors">Receives every problem.</param>
    /// <returns>What could be read; to be used only when no problem was added.</returns>
    public static DeepSpeedConfig Read(string json, ConfigErrors errors)
    {
        JsonElement root;
        try
        {
            using JsonDocument document = JsonDocument.Parse(json,
                new JsonDocumentOptions { CommentHandling = JsonCommentHandling.Skip, AllowTrailingCommas = true });
            root = document.RootElement.Clone();
        }
        catch (JsonException e)
        {
            errors.Add("$", $"this is not JSON: {e.Message}", "correct the syntax at that place");
            return new DeepSpeedConfig();
        }

        if (root.ValueKind != JsonValueKind.Object)
        {
            errors.Add("$", "the config is not a JSON object", "write { ... }");
            return new DeepSpeedConfig();
        }

        var section = new ConfigSection(root, "", errors);
        var config = new DeepSpeedConfig
        {
            Batch = BatchConfig.Read(section),
            StepsPerPrint = section.Int("steps_per_print", minimum: 1),
            GradientClipping = section.Number("gradient_clipping", v => v >= 0, "a number of at least 0") ?? 1.0,
            Optimizer = OptimizerConfig.Read(section),
            Scheduler = ScheduleConfig.Read(section),
            Zero = ZeroConfig.Read(section, errors),
        };
        RefuseMixedPrecision(section, "fp16", "auto_cast", "loss_scale", "initial_scale_power", "loss_scale_window",
            "hysteresis", "consecutive_hysteresis", "min_loss_scale", "fp16_master_weights_and_grads");
        RefuseMixedPrecision(section, "bf16", "immediate_grad_update", "check_grad_overflow",
            "bf16_master_weights_and_grads", "bf16_optimizer_states");
        section.End(Planned);
        return config;
    }

    // A section that is switched off asks for nothing, so configs shared with other runs keep working. A key that does
    // not exist is still refused: it may be a misspelt "enabled".
    private static void RefuseMixedPrecision(ConfigSection root, string name, params ReadOnlySpan<string> known)
    {
        if (root.Section(name) is not { } section)
        {
            return;
        }

        if (section.Flag("enabled") == true)
        {
            section.Problem("enabled", $"{name} training is not supported yet", $"train in fp32: remove \"{name}\"");
        }

        section.Accept(known);
        section.End();
    }
}

using System.Buffers.Text;
using System.Text;
using System.Text.Json;

namespace DeepSpeedSharp.Config;

// From text to record.
public sealed partial record DeepSpeedConfig
{
    /// <summary>Reads a config file.</summary>
    /// <param name="path">The JSON file; comments and trailing commas are allowed. Like the original, this takes the
    /// config itself as URL-safe base64 too.</param>
    /// <param name="arguments">What a trainer was asked for besides; fills "auto".</param>
    /// <returns>The checked config.</returns>
    /// <exception cref="ConfigException">The file is missing or has problems; all of them are listed.</exception>
    public static DeepSpeedConfig Load(string path, TrainerArguments? arguments = null) =>
        Load(path, (json, errors) => Read(json, errors, arguments));

    /// <summary>Reads a config file whose "auto" a program will fill when it starts.</summary>
    /// <exception cref="ConfigException">The file is missing or has other problems; all of them are listed.</exception>
    internal static DeepSpeedConfig LoadForLater(string path) => Load(path, ReadForLater);

    private static DeepSpeedConfig Load(string path, Func<string, ConfigErrors, DeepSpeedConfig> read)
    {
        var errors = new ConfigErrors();
        try
        {
            string? json = File.Exists(path) ? null : FromBase64(path);
            DeepSpeedConfig config = read(json ?? File.ReadAllText(path), errors);
            errors.ThrowIfAny(json is null ? path : "the DeepSpeed config");
            return config;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new ConfigException(path, [new ConfigError("$", $"the file cannot be read: {e.Message}",
                "give the path of a DeepSpeed JSON config")]);
        }
    }

    /// <summary>Reads a config from text.</summary>
    /// <param name="json">The JSON text, or URL-safe base64 of it.</param>
    /// <param name="subject">What to call the text in messages.</param>
    /// <param name="arguments">What a trainer was asked for besides; fills "auto".</param>
    /// <returns>The checked config.</returns>
    /// <exception cref="ConfigException">The text has problems; all of them are listed.</exception>
    public static DeepSpeedConfig Parse(
        string json, string subject = "the DeepSpeed config", TrainerArguments? arguments = null)
    {
        var errors = new ConfigErrors();
        DeepSpeedConfig config = Read(json, errors, arguments);
        errors.ThrowIfAny(subject);
        return config;
    }

    /// <summary>Reads a config and collects its problems instead of throwing.</summary>
    /// <param name="json">The JSON text, or URL-safe base64 of it.</param>
    /// <param name="errors">Receives every problem.</param>
    /// <param name="arguments">What a trainer was asked for besides; fills "auto".</param>
    /// <returns>What could be read; to be used only when no problem was added.</returns>
    public static DeepSpeedConfig Read(string json, ConfigErrors errors, TrainerArguments? arguments = null) =>
        Read(json, new ConfigReading(errors, arguments is null ? null : new ArgumentValues(arguments), LeavesAuto: false),
            arguments?.WorldSize);

    /// <summary>Reads a config whose "auto" a program will fill when it starts.</summary>
    internal static DeepSpeedConfig ReadForLater(string json, ConfigErrors errors) =>
        Read(json, new ConfigReading(errors, null, LeavesAuto: true), worldSize: null);

    private static DeepSpeedConfig Read(string json, ConfigReading reading, int? worldSize)
    {
        JsonElement root;
        try
        {
            using JsonDocument document = JsonDocument.Parse(FromBase64(json) ?? json,
                new JsonDocumentOptions { CommentHandling = JsonCommentHandling.Skip, AllowTrailingCommas = true });
            root = document.RootElement.Clone();
        }
        catch (JsonException e)
        {
            reading.Errors.Add("$", $"this is not JSON: {e.Message}", "correct the syntax at that place");
            return new DeepSpeedConfig();
        }

        if (root.ValueKind != JsonValueKind.Object)
        {
            reading.Errors.Add("$", "the config is not a JSON object", "write { ... }");
            return new DeepSpeedConfig();
        }

        int before = reading.Errors.All.Count;
        DeepSpeedConfig config = ReadSections(new ConfigSection(root, reading), reading);
        reading.Arguments?.ReportUnused(reading.Errors);

        // A section that could not be read has its defaults, and what follows from those would only mislead.
        if (!reading.Errors.All.Skip(before).Any(e => ConfigRules.Concerns(e.Path)))
        {
            ConfigRules.Check(config, reading.Errors);
        }

        if (worldSize is { } ranks && !reading.Errors.All.Skip(before).Any(e => BatchConfig.Concerns(e.Path)
            || e.Path.StartsWith("elasticity", StringComparison.Ordinal)))
        {
            BatchPlan.Resolve(config, ranks, reading.Errors);
        }

        return config;
    }

    private static DeepSpeedConfig ReadSections(ConfigSection root, ConfigReading reading)
    {
        var defaults = new DeepSpeedConfig();
        long? allGatherSize = root.Long("allgather_size", minimum: 1);
        var config = new DeepSpeedConfig
        {
            Batch = BatchConfig.Read(root),
            StepsPerPrint = root.Int("steps_per_print", minimum: 1),
            GradientClipping = root.Number("gradient_clipping", NumberRule.NotNegative) ?? defaults.GradientClipping,
            PrescaleGradients = root.Flag("prescale_gradients") ?? defaults.PrescaleGradients,
            GradientPredivideFactor =
                root.Number("gradient_predivide_factor", NumberRule.Positive) ?? defaults.GradientPredivideFactor,
            GradientAllReduceOp = root.Choice("gradient_allreduce_op",
                ("mean", GradientAllReduceOp.Mean), ("sum", GradientAllReduceOp.Sum)) ?? defaults.GradientAllReduceOp,
            CommunicationDataType = root.Choice("communication_data_type", DataTypesConfig.Names),
            SequenceParallelCommunicationDataType =
                root.Choice("seq_parallel_communication_data_type", DataTypesConfig.Names) ?? TrainingDataType.Fp32,
            SparseGradients = root.Flag("sparse_gradients") ?? defaults.SparseGradients,
            DisableAllGather = root.Flag("disable_allgather") ?? defaults.DisableAllGather,
            MemoryBreakdown = root.Flag("memory_breakdown") ?? defaults.MemoryBreakdown,
            DumpState = root.Flag("dump_state") ?? defaults.DumpState,
            LogLevel = root.Text("log_level"),
            DataLoaderDropLast = root.Flag("dataloader_drop_last") ?? defaults.DataLoaderDropLast,
            ManagedGradientAccumulation = root.Flag("managed_gradient_accumulation") ?? defaults.ManagedGradientAccumulation,
            VocabularySize = root.Int("vocabulary_size", minimum: 1),
            SequenceParallelSize = root.Int("sequence_parallel_size", minimum: 1) ?? defaults.SequenceParallelSize,
            DataParallelSize = root.Int("data_parallel_size", minimum: 1),
            UseDataBeforeExpertParallelism =
                root.Flag("use_data_before_expert_parallelism") ?? defaults.UseDataBeforeExpertParallelism,
            GraphHarvesting = root.Flag("graph_harvesting") ?? defaults.GraphHarvesting,
            ZeroAllowUntestedOptimizer = root.Flag("zero_allow_untested_optimizer") ?? defaults.ZeroAllowUntestedOptimizer,
            ZeroForceCpuOptimizer = root.Flag("zero_force_ds_cpu_optimizer") ?? defaults.ZeroForceCpuOptimizer,
            AllGatherSize = allGatherSize,
            Optimizer = OptimizerConfig.Read(root),
            Scheduler = ScheduleConfig.Read(root),
            Fp16 = Fp16Config.Read(root),
            Bf16 = Bf16Config.Read(root),
            Amp = AmpConfig.Read(root),
            DataTypes = DataTypesConfig.Read(root),
            Zero = ZeroReading.Read(root, allGatherSize),
            ActivationCheckpointing = ActivationCheckpointingConfig.Read(root),
            FlopsProfiler = FlopsProfilerConfig.Read(root),
            TensorBoard = TensorBoardConfig.Read(root),
            CsvMonitor = CsvMonitorConfig.Read(root),
            CommsLogger = CommsLoggerConfig.Read(root),
            Timers = TimersConfig.Read(root),
            Checkpoint = CheckpointConfig.Read(root),
            Elasticity = ElasticityConfig.Read(root),
            AsyncIO = AsyncIOConfig.Read(root),
        };
        bool breakdown = root.Flag("wall_clock_breakdown") ?? false;
        UnsupportedSections.Read(root);
        root.End();
        return config with
        {
            Optimizer = OptimizerConfig.ClearMaxGradNorm(config.Optimizer, config.Fp16.Enabled),
            WallClockBreakdown = breakdown || config.FlopsProfiler.Enabled,
            UnresolvedAuto = ValueList.Of<string>(reading.UnresolvedAuto),
        };
    }

    // The original hands configs from process to process this way.
    private static string? FromBase64(string text)
    {
        string trimmed = text.Trim();
        if (trimmed.Length < 4 || !Base64Url.IsValid(trimmed))
        {
            return null;
        }

        string decoded = Encoding.UTF8.GetString(Base64Url.DecodeFromChars(trimmed));
        return decoded.TrimStart().StartsWith('{') ? decoded : null;
    }
}

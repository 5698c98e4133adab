using System.Text.Json;

namespace DeepSpeedSharp.Config;

/// <summary>Which keys a trainer's arguments speak about: the table of Hugging Face's integration.</summary>
internal sealed class ArgumentValues
{
    private readonly Dictionary<string, ArgumentValue> _values = [];
    private readonly Dictionary<string, JsonElement> _missingSections = [];
    private readonly HashSet<string> _used = [];

    public ArgumentValues(TrainerArguments arguments)
    {
        TrainerArguments a = arguments;
        Add("train_micro_batch_size_per_gpu", "per_device_train_batch_size", a.PerDeviceTrainBatchSize, null);
        Add("gradient_accumulation_steps", "gradient_accumulation_steps", a.GradientAccumulationSteps, null);
        Add("gradient_clipping", "max_grad_norm", a.MaxGradNorm, 1.0);
        Add("fp16.enabled", "fp16", a.Fp16, false);
        Add("bf16.enabled", "bf16", a.Bf16, false);
        AddOptimizer(a);
        AddScheduler(a);
        if (a.HiddenSize is { } h)
        {
            Fill("zero_optimization.reduce_bucket_size", h * h);
            Fill("zero_optimization.stage3_prefetch_bucket_size", (long)(0.9 * h * h));
            Fill("zero_optimization.stage3_param_persistence_threshold", 10 * h);
        }

        Add("zero_optimization.stage3_gather_16bit_weights_on_model_save", "gather_16bit_weights_on_model_save",
            a.Gather16BitWeightsOnModelSave, false);
        MissingWhen(a.Fp16 is not null, "fp16", new { });
        MissingWhen(a.Bf16 is not null, "bf16", new { });
    }

    /// <summary>What an argument says about a key, or null.</summary>
    public ArgumentValue? For(string path)
    {
        ArgumentValue? value = _values.GetValueOrDefault(path);
        if (value is not null)
        {
            _used.Add(value.Name);
        }

        return value;
    }

    /// <summary>The section that arguments ask for when the config has none, or null.</summary>
    public JsonElement? MissingSection(string path) =>
        _missingSections.TryGetValue(path, out JsonElement section) ? section : null;

    /// <summary>Reports arguments that no key of this config takes.</summary>
    public void ReportUnused(ConfigErrors errors)
    {
        foreach ((string path, ArgumentValue value) in _values.Where(v => v.Value.FillsMissing).DistinctBy(v => v.Value.Name))
        {
            if (_used.Contains(value.Name))
            {
                continue;
            }

            string section = path.Split('.')[0];
            errors.Add(path, $"the argument {value.Name} is given, but nothing in this config takes it", section switch
            {
                "optimizer" => "remove it, or name an optimizer that has it: \"optimizer\": { \"type\": \"AdamW\" }",
                "scheduler" => "remove it, or name a schedule that has it: \"scheduler\": { \"type\": \"WarmupLR\" }",
                _ => "remove it",
            });
        }
    }

    /// <summary>Samples per forward when batch sizes are "auto" and no argument says more.</summary>
    public const int DefaultMicroBatchSize = 8;

    /// <summary>Whether a missing value of the batch sizes follows from the others.</summary>
    public static bool IsDerived(string key) =>
        key is "train_batch_size" or "train_micro_batch_size_per_gpu" or "gradient_accumulation_steps";

    /// <summary>What to do about an "auto" that nobody filled.</summary>
    public static string WhoFills(string key) => key switch
    {
        "train_batch_size" => "write a number, or remove it so that it follows from micro batch, accumulation and ranks",
        "train_micro_batch_size_per_gpu" => By("--per-device-train-batch-size"),
        "gradient_accumulation_steps" => By("--gradient-accumulation-steps"),
        "gradient_clipping" => By("--max-grad-norm"),
        _ => "write the value",
    };

    private static string By(string option) =>
        $"write a number, or train with {option} (from a program: TrainerArguments)";

    private void AddOptimizer(TrainerArguments a)
    {
        Add("optimizer.params.lr", "learning_rate", a.LearningRate, 5e-5);
        Add("optimizer.params.betas", "adam_beta1 and adam_beta2",
            a.AdamBeta1 is null && a.AdamBeta2 is null ? null : (double[])[a.AdamBeta1 ?? 0.9, a.AdamBeta2 ?? 0.999],
            (double[])[0.9, 0.999]);
        Add("optimizer.params.eps", "adam_epsilon", a.AdamEpsilon, 1e-8);
        Add("optimizer.params.weight_decay", "weight_decay", a.WeightDecay, 0.0);
        MissingWhen(a.LearningRate is not null, "optimizer", new { type = "AdamW" });
    }

    private void AddScheduler(TrainerArguments a)
    {
        Fill("scheduler.params.warmup_min_lr", 0.0);
        Add("scheduler.params.warmup_max_lr", "learning_rate", a.LearningRate, 5e-5);

        // Schedules count at least one step of warm-up.
        Add("scheduler.params.warmup_num_steps", "warmup_steps", a.WarmupSteps is { } w ? Math.Max(1, w) : null, 1);
        if (a.TotalSteps is { } total)
        {
            _values["scheduler.params.total_num_steps"] =
                new ArgumentValue("max_steps", Json(total), FillsMissing: false, MustMatch: false);
        }

        if (a.LearningRateScheduler is not { } schedule)
        {
            return;
        }

        (string type, object? section) = TrainerSchedules.SectionFor(schedule);
        _values["scheduler.type"] = new ArgumentValue("lr_scheduler_type", Json(type), FillsMissing: true, MustMatch: true);
        MissingWhen(section is not null, "scheduler", section!);
        if (section is null)
        {
            _used.Add("lr_scheduler_type"); // a constant rate is what a config without schedule means
        }
    }

    private void Add(string path, string name, object? given, object? otherwise)
    {
        if (given is not null)
        {
            _values[path] = new ArgumentValue(name, Json(given), FillsMissing: true, MustMatch: true);
        }
        else if (otherwise is not null)
        {
            Fill(path, otherwise);
        }
    }

    private void Fill(string path, object value) =>
        _values[path] = new ArgumentValue("", Json(value), FillsMissing: false, MustMatch: false);

    private void MissingWhen(bool wanted, string section, object content)
    {
        if (wanted)
        {
            _missingSections[section] = Json(content);
        }
    }

    private static JsonElement Json(object? value) => JsonSerializer.SerializeToElement(value);
}

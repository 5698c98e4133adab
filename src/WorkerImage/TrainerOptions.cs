using System.CommandLine;
using DeepSpeedSharp.Config;

namespace DeepSpeedSharp.Worker;

/// <summary>The options of <c>train</c> that Hugging Face's trainer has too. They fill the values "auto" of the config,
/// and the keys it does not have; a value that it has may not differ.</summary>
internal sealed class TrainerOptions
{
    private static readonly Dictionary<string, TrainerSchedule> Schedules = new()
    {
        ["linear"] = TrainerSchedule.Linear,
        ["cosine"] = TrainerSchedule.Cosine,
        ["constant"] = TrainerSchedule.Constant,
        ["constant_with_warmup"] = TrainerSchedule.ConstantWithWarmup,
    };

    private readonly Option<int?> _microBatch = Whole("--per-device-train-batch-size", 1, "Samples per forward on one rank (\"auto\": 8)");
    private readonly Option<int?> _accumulation = Whole("--gradient-accumulation-steps", 1, "Micro batches per optimizer step (\"auto\": 1)");
    private readonly Option<double?> _learningRate = Number("--learning-rate", v => v >= 0, "at least 0", "Learning rate (\"auto\": 5e-5); asks for AdamW when the config names no optimizer");
    private readonly Option<double?> _weightDecay = Number("--weight-decay", v => v >= 0, "at least 0", "Weight decay (\"auto\": 0)");
    private readonly Option<double?> _beta1 = Number("--adam-beta1", v => v is >= 0 and < 1, "at least 0 and below 1", "Decay of the first moment (\"auto\": 0.9)");
    private readonly Option<double?> _beta2 = Number("--adam-beta2", v => v is >= 0 and < 1, "at least 0 and below 1", "Decay of the second moment (\"auto\": 0.999)");
    private readonly Option<double?> _epsilon = Number("--adam-epsilon", v => v > 0, "above 0", "Added to Adam's denominator (\"auto\": 1e-8)");
    private readonly Option<double?> _maxGradNorm = Number("--max-grad-norm", v => v >= 0, "at least 0", "Largest gradient norm; 0 turns clipping off (\"auto\": 1)");
    private readonly Option<int?> _warmupSteps = Whole("--warmup-steps", 0, "Optimizer steps of warm-up (\"auto\": 0)");
    private readonly Option<string?> _schedule = new("--lr-scheduler-type", "--lr_scheduler_type") { HelpName = string.Join('|', Schedules.Keys), Description = "Schedule when the config names none" };
    private readonly Option<bool?> _bf16 = new("--bf16") { Description = "Train in bf16" };
    private readonly Option<bool?> _fp16 = new("--fp16") { Description = "Train in fp16" };

    /// <summary>Adds the options to a command.</summary>
    public void AddTo(Command command)
    {
        _schedule.AcceptOnlyFromAmong([.. Schedules.Keys]);
        foreach (Option option in (Option[])
        [
            _microBatch, _accumulation, _learningRate, _weightDecay, _beta1, _beta2, _epsilon, _maxGradNorm, _warmupSteps,
            _schedule, _bf16, _fp16,
        ])
        {
            command.Add(option);
        }
    }

    /// <summary>What was given on the command line.</summary>
    /// <param name="parsed">The command line.</param>
    /// <param name="maxSteps">Optimizer steps of the run.</param>
    public TrainerArguments Read(ParseResult parsed, long maxSteps) => new()
    {
        PerDeviceTrainBatchSize = parsed.GetValue(_microBatch),
        GradientAccumulationSteps = parsed.GetValue(_accumulation),
        LearningRate = parsed.GetValue(_learningRate),
        WeightDecay = parsed.GetValue(_weightDecay),
        AdamBeta1 = parsed.GetValue(_beta1),
        AdamBeta2 = parsed.GetValue(_beta2),
        AdamEpsilon = parsed.GetValue(_epsilon),
        MaxGradNorm = parsed.GetValue(_maxGradNorm),
        WarmupSteps = parsed.GetValue(_warmupSteps),
        LearningRateScheduler = parsed.GetValue(_schedule) is { } name ? Schedules[name] : null,
        Bf16 = parsed.GetValue(_bf16),
        Fp16 = parsed.GetValue(_fp16),
        TotalSteps = maxSteps,
    };

    private static Option<int?> Whole(string name, int minimum, string description)
    {
        var option = new Option<int?>(name, Alias(name)) { HelpName = "N", Description = description };
        option.Validators.Add(r =>
        {
            if (r.GetValueOrDefault<int?>() is { } value && value < minimum)
            {
                r.AddError($"{name} must be at least {minimum}");
            }
        });
        return option;
    }

    private static Option<double?> Number(string name, Func<double, bool> holds, string rule, string description)
    {
        var option = new Option<double?>(name, Alias(name)) { HelpName = "X", Description = description };
        option.Validators.Add(r =>
        {
            if (r.GetValueOrDefault<double?>() is { } value && !holds(value))
            {
                r.AddError($"{name} must be {rule}");
            }
        });
        return option;
    }

    private static string Alias(string name) => "--" + name[2..].Replace('-', '_');
}

using System.Text.Json.Serialization;

namespace DeepSpeedSharp.Config;

/// <summary>The <c>optimizer</c> section: <c>{"type": name, "params": {...}}</c>.</summary>
public sealed record OptimizerConfig
{
    /// <summary>Adam or AdamW, in any case, as DeepSpeed accepts them.</summary>
    [JsonPropertyName("type")]
    public required string Type { get; init; }

    /// <summary>The optimizer's numbers.</summary>
    [JsonPropertyName("params")]
    public AdamConfig Params { get; init; } = new();

    private static readonly string[] Later =
        ["adagrad", "lamb", "lion", "muon", "onebitadam", "zerooneadam", "onebitlamb", "muadam", "muadamw", "musgd", "sgd"];

    internal static OptimizerConfig? Read(ConfigSection root)
    {
        if (root.Section("optimizer") is not { } section)
        {
            return null;
        }

        string? type = section.Text("type");
        if (type is null && !section.Has("type"))
        {
            section.Problem("type", "the optimizer has no type", "add \"type\": \"AdamW\"");
        }
        else if (type is not null && type.ToLowerInvariant() is not ("adam" or "adamw"))
        {
            section.Problem("type", Later.Contains(type.ToLowerInvariant())
                ? $"the optimizer {type} is not supported yet" : $"there is no optimizer {type}", "use Adam or AdamW");
        }

        // "Adam" means decoupled decay unless adam_w_mode is false, as in DeepSpeed. The parameters of another
        // optimizer would only produce follow-up errors.
        bool isAdam = type?.ToLowerInvariant() is null or "adam" or "adamw";
        AdamConfig parameters = isAdam && section.Section("params") is { } p ? AdamConfig.Read(p) : new AdamConfig();
        section.Accept("params");
        section.End("legacy_fusion");
        return new OptimizerConfig { Type = type ?? "AdamW", Params = parameters };
    }
}

/// <summary>Parameters of Adam and AdamW; the defaults are DeepSpeed's.</summary>
public sealed record AdamConfig
{
    /// <summary>Learning rate.</summary>
    [JsonPropertyName("lr")]
    public double LearningRate { get; init; } = 1e-3;

    /// <summary>Decay of the first and second moment, each in [0, 1).</summary>
    [JsonPropertyName("betas")]
    public IReadOnlyList<double> Betas { get; init; } = [0.9, 0.999];

    /// <summary>Added to the denominator.</summary>
    [JsonPropertyName("eps")]
    public double Epsilon { get; init; } = 1e-8;

    /// <summary>Weight decay; decoupled from the gradient when <see cref="AdamWMode"/> is on.</summary>
    [JsonPropertyName("weight_decay")]
    public double WeightDecay { get; init; }

    /// <summary>Corrects the moments' start at zero.</summary>
    [JsonPropertyName("bias_correction")]
    public bool BiasCorrection { get; init; } = true;

    /// <summary>True: decoupled decay (AdamW), also for type "Adam". False: L2 decay added to the gradient.</summary>
    [JsonPropertyName("adam_w_mode")]
    public bool AdamWMode { get; init; } = true;

    internal static AdamConfig Read(ConfigSection section)
    {
        var defaults = new AdamConfig();
        var config = new AdamConfig
        {
            LearningRate = section.Number("lr", v => v >= 0, "a number of at least 0") ?? defaults.LearningRate,
            Betas = section.Numbers("betas", 2, v => v is >= 0 and < 1, "at least 0 and below 1") ?? defaults.Betas,
            Epsilon = section.Number("eps", v => v > 0, "a number above 0") ?? defaults.Epsilon,
            WeightDecay = section.Number("weight_decay", v => v >= 0, "a number of at least 0") ?? defaults.WeightDecay,
            BiasCorrection = section.Flag("bias_correction") ?? defaults.BiasCorrection,
            AdamWMode = section.Flag("adam_w_mode") ?? defaults.AdamWMode,
        };
        if (section.Flag("amsgrad") == true)
        {
            section.Problem("amsgrad", "the amsgrad variant is not supported", "remove it");
        }

        if (section.Value("max_grad_norm") is not null)
        {
            section.Problem("max_grad_norm", "clipping is not an optimizer parameter",
                "write \"gradient_clipping\" at the top level instead");
        }

        section.End("torch_adam", "fp32_optimizer_states");
        return config;
    }
}

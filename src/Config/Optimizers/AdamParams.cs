using System.Text.Json.Serialization;

namespace DeepSpeedSharp.Config;

/// <summary>Parameters of Adam and AdamW; the defaults are DeepSpeed's.</summary>
public sealed record AdamParams : OptimizerParams
{
    /// <summary>Decay of the first and second moment, each in [0, 1).</summary>
    [JsonPropertyName("betas")]
    public IReadOnlyList<double> Betas { get; init; } = ValueList.Of(0.9, 0.999);

    /// <summary>Added to the denominator.</summary>
    [JsonPropertyName("eps")]
    public double Epsilon { get; init; } = 1e-8;

    /// <summary>Corrects the moments' start at zero.</summary>
    [JsonPropertyName("bias_correction")]
    public bool BiasCorrection { get; init; } = true;

    /// <summary>True: decoupled decay (AdamW), also for type "Adam". False: L2 decay added to the gradient.</summary>
    [JsonPropertyName("adam_w_mode")]
    public bool AdamWMode { get; init; } = true;

    /// <summary>Uses the plain formulas instead of the fused kernel.</summary>
    [JsonPropertyName("torch_adam")]
    public bool TorchAdam { get; init; }

    /// <summary>Keeps the moments in fp32 when the optimizer runs on the CPU.</summary>
    [JsonPropertyName("fp32_optimizer_states")]
    public bool Fp32OptimizerStates { get; init; } = true;

    internal static OptimizerParams Read(ConfigSection section)
    {
        AdamParams defaults = ReadShared(section, new AdamParams());
        if (section.Flag("amsgrad") == true)
        {
            section.Problem("amsgrad", "the amsgrad variant is not supported", "remove it");
        }

        return defaults with
        {
            Betas = section.Numbers("betas", 2, NumberRule.Decay) ?? defaults.Betas,
            Epsilon = section.Number("eps", NumberRule.Positive) ?? defaults.Epsilon,
            BiasCorrection = section.Flag("bias_correction") ?? defaults.BiasCorrection,
            AdamWMode = section.Flag("adam_w_mode") ?? defaults.AdamWMode,
            TorchAdam = section.Flag("torch_adam") ?? defaults.TorchAdam,
            Fp32OptimizerStates = section.Flag("fp32_optimizer_states") ?? defaults.Fp32OptimizerStates,
        };
    }
}

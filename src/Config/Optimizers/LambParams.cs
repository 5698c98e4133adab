using System.Text.Json.Serialization;

namespace DeepSpeedSharp.Config;

/// <summary>Parameters of Lamb; the defaults are DeepSpeed's.</summary>
/// <remarks>You et al., "Large Batch Optimization for Deep Learning", 2020, algorithm 2.</remarks>
public sealed record LambParams : OptimizerParams
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

    /// <summary>Largest trust ratio.</summary>
    [JsonPropertyName("max_coeff")]
    public double MaxCoefficient { get; init; } = 10;

    /// <summary>Smallest trust ratio.</summary>
    [JsonPropertyName("min_coeff")]
    public double MinCoefficient { get; init; } = 0.01;

    /// <summary>Adds epsilon below the square root instead of behind it.</summary>
    [JsonPropertyName("eps_inside_sqrt")]
    public bool EpsilonInsideSqrt { get; init; }

    internal static OptimizerParams Read(ConfigSection section)
    {
        LambParams defaults = ReadShared(section, new LambParams());
        LambParams config = defaults with
        {
            Betas = section.Numbers("betas", 2, NumberRule.Decay) ?? defaults.Betas,
            Epsilon = section.Number("eps", NumberRule.Positive) ?? defaults.Epsilon,
            BiasCorrection = section.Flag("bias_correction") ?? defaults.BiasCorrection,
            MaxCoefficient = section.Number("max_coeff", NumberRule.Positive) ?? defaults.MaxCoefficient,
            MinCoefficient = section.Number("min_coeff", NumberRule.NotNegative) ?? defaults.MinCoefficient,
            EpsilonInsideSqrt = section.Flag("eps_inside_sqrt") ?? defaults.EpsilonInsideSqrt,
        };
        if (section.Flag("amsgrad") == true)
        {
            section.Problem("amsgrad", "the amsgrad variant is not supported", "remove it");
        }

        if (config.MinCoefficient > config.MaxCoefficient)
        {
            section.Problem("min_coeff", FormattableString.Invariant(
                $"{config.MinCoefficient} is above max_coeff, which is {config.MaxCoefficient}"), "use a smaller one");
        }

        return config;
    }
}

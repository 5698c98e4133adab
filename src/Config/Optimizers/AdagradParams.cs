using System.Text.Json.Serialization;

namespace DeepSpeedSharp.Config;

/// <summary>Parameters of Adagrad; the defaults are DeepSpeed's, with a learning rate of 0.01.</summary>
/// <remarks>Duchi et al., "Adaptive Subgradient Methods", 2011.</remarks>
public sealed record AdagradParams : OptimizerParams
{
    /// <summary>Gives the learning rate of DeepSpeed's Adagrad.</summary>
    public AdagradParams() => LearningRate = 1e-2;

    /// <summary>Added to the denominator.</summary>
    [JsonPropertyName("eps")]
    public double Epsilon { get; init; } = 1e-10;

    internal static OptimizerParams Read(ConfigSection section)
    {
        AdagradParams defaults = ReadShared(section, new AdagradParams());
        if (section.Flag("amsgrad") == true)
        {
            section.Problem("amsgrad", "Adagrad has no amsgrad variant", "remove it");
        }

        return defaults with { Epsilon = section.Number("eps", NumberRule.Positive) ?? defaults.Epsilon };
    }
}

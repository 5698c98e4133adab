using System.Text.Json.Serialization;

namespace DeepSpeedSharp.Config;

/// <summary>Parameters of Lion; the defaults are DeepSpeed's.</summary>
/// <remarks>Chen et al., "Symbolic Discovery of Optimization Algorithms", 2023, program 1.</remarks>
public sealed record LionParams : OptimizerParams
{
    /// <summary>Decay of the mean in the update and of the one that is kept, each in [0, 1).</summary>
    [JsonPropertyName("betas")]
    public IReadOnlyList<double> Betas { get; init; } = ValueList.Of(0.9, 0.999);

    internal static OptimizerParams Read(ConfigSection section)
    {
        LionParams defaults = ReadShared(section, new LionParams());
        return defaults with { Betas = section.Numbers("betas", 2, NumberRule.Decay) ?? defaults.Betas };
    }
}

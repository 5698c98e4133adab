using System.Text.Json.Serialization;

namespace DeepSpeedSharp.Config;

/// <summary>Parameters of Muon for matrices and AdamW for everything else; the defaults are DeepSpeed's.</summary>
/// <remarks>Jordan et al., "Muon: An optimizer for hidden layers in neural networks", 2024.</remarks>
public sealed record MuonParams : OptimizerParams
{
    /// <summary>Gives the learning rate of DeepSpeed's Muon.</summary>
    public MuonParams() => LearningRate = 0.02;

    /// <summary>Decay of the running mean that is orthogonalized.</summary>
    [JsonPropertyName("momentum")]
    public double Momentum { get; init; } = 0.95;

    /// <summary>Learning rate of matrices; <c>lr</c> sets it when <c>muon_lr</c> does not.</summary>
    [JsonPropertyName("muon_lr")]
    public double MuonLearningRate { get; init; } = 0.02;

    /// <summary>Learning rate of everything else; <c>lr</c> sets it when <c>adam_lr</c> does not.</summary>
    [JsonPropertyName("adam_lr")]
    public double AdamLearningRate { get; init; } = 3e-4;

    /// <summary>AdamW's decay of the first and second moment, each in [0, 1).</summary>
    [JsonPropertyName("betas")]
    public IReadOnlyList<double> Betas { get; init; } = ValueList.Of(0.9, 0.95);

    /// <summary>AdamW's addition to the denominator.</summary>
    [JsonPropertyName("eps")]
    public double Epsilon { get; init; } = 1e-10;

    /// <summary>"gram" or "standard": two ways to the same Newton-Schulz iteration.</summary>
    [JsonPropertyName("ns_method")]
    public string NsMethod { get; init; } = "gram";

    internal static OptimizerParams Read(ConfigSection section)
    {
        MuonParams defaults = ReadShared(section, new MuonParams());
        double? shared = section.Number("lr", NumberRule.NotNegative); // for both parts
        return defaults with
        {
            Momentum = section.Number("momentum", NumberRule.Decay) ?? defaults.Momentum,
            MuonLearningRate = section.Number("muon_lr", NumberRule.NotNegative) ?? shared ?? defaults.MuonLearningRate,
            AdamLearningRate = section.Number("adam_lr", NumberRule.NotNegative) ?? shared ?? defaults.AdamLearningRate,
            Betas = section.Numbers("betas", 2, NumberRule.Decay) ?? defaults.Betas,
            Epsilon = section.Number("eps", NumberRule.Positive) ?? defaults.Epsilon,
            NsMethod = section.Choice("ns_method", "gram", "standard") ?? defaults.NsMethod,
        };
    }
}

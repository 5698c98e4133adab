using System.Text.Json.Serialization;

namespace DeepSpeedSharp.Config;

/// <summary>Parameters of WarmupCosineLR: fractions of each group's own learning rate. The defaults are DeepSpeed's.</summary>
/// <remarks>Loshchilov and Hutter, "SGDR: Stochastic Gradient Descent with Warm Restarts", 2017, equation 5.</remarks>
public sealed record WarmupCosineParams : ScheduleParams
{
    /// <summary>Optimizer steps until the learning rate is lowest.</summary>
    [JsonPropertyName("total_num_steps")]
    public long TotalSteps { get; init; }

    /// <summary>Fraction of the learning rate at the start of the warm-up.</summary>
    [JsonPropertyName("warmup_min_ratio")]
    public double MinRatio { get; init; }

    /// <summary>Length of the warm-up in optimizer steps; DeepSpeed treats 1 as 2.</summary>
    [JsonPropertyName("warmup_num_steps")]
    public int Steps { get; init; } = 1000;

    /// <summary>Fraction of the learning rate at the end of the cosine.</summary>
    [JsonPropertyName("cos_min_ratio")]
    public double CosineMinRatio { get; init; } = 1e-4;

    /// <summary>"log" or "linear".</summary>
    [JsonPropertyName("warmup_type")]
    public string Type { get; init; } = "log";

    internal static ScheduleParams Read(ConfigSection section)
    {
        var defaults = new WarmupCosineParams();
        return new WarmupCosineParams
        {
            TotalSteps = section.RequiredLong("total_num_steps", minimum: 1, example: "10000"),
            MinRatio = section.Number("warmup_min_ratio", NumberRule.NotNegative) ?? defaults.MinRatio,
            Steps = section.PlainInt("warmup_num_steps", minimum: 1) ?? defaults.Steps,
            CosineMinRatio = section.Number("cos_min_ratio", NumberRule.NotNegative) ?? defaults.CosineMinRatio,
            Type = section.Choice("warmup_type", "log", "linear") ?? defaults.Type,
        };
    }
}

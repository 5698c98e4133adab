using System.Text.Json.Serialization;

namespace DeepSpeedSharp.Config;

/// <summary>Parameters of WarmupDecayLR: a warm-up, then a straight line to zero. The defaults are DeepSpeed's.</summary>
public sealed record WarmupDecayParams : ScheduleParams
{
    /// <summary>Optimizer steps until the learning rate is zero.</summary>
    [JsonPropertyName("total_num_steps")]
    public long TotalSteps { get; init; }

    /// <summary>Learning rate at the start of the warm-up, per group.</summary>
    [JsonPropertyName("warmup_min_lr")]
    [JsonConverter(typeof(PerGroupConverter))]
    public IReadOnlyList<double> MinLearningRate { get; init; } = ValueList.Of(0.0);

    /// <summary>Learning rate after the warm-up, per group.</summary>
    [JsonPropertyName("warmup_max_lr")]
    [JsonConverter(typeof(PerGroupConverter))]
    public IReadOnlyList<double> MaxLearningRate { get; init; } = ValueList.Of(0.001);

    /// <summary>Length of the warm-up in optimizer steps; DeepSpeed treats 1 as 2.</summary>
    [JsonPropertyName("warmup_num_steps")]
    public int Steps { get; init; } = 1000;

    /// <summary>"log" or "linear".</summary>
    [JsonPropertyName("warmup_type")]
    public string Type { get; init; } = "log";

    internal static ScheduleParams Read(ConfigSection section)
    {
        var defaults = new WarmupDecayParams();
        return new WarmupDecayParams
        {
            TotalSteps = section.RequiredLong("total_num_steps", minimum: 1, example: "10000"),
            MinLearningRate = section.PerGroup("warmup_min_lr", NumberRule.NotNegative) ?? defaults.MinLearningRate,
            MaxLearningRate = section.PerGroup("warmup_max_lr", NumberRule.NotNegative) ?? defaults.MaxLearningRate,
            Steps = section.PlainInt("warmup_num_steps", minimum: 1) ?? defaults.Steps,
            Type = section.Choice("warmup_type", "log", "linear") ?? defaults.Type,
        };
    }
}

using System.Text.Json.Serialization;

namespace DeepSpeedSharp.Config;

/// <summary>Parameters of OneCycle: up, down, then decay, with the momentum in the opposite direction.</summary>
/// <remarks>Smith and Topin, "Super-Convergence", 2018, section 3. The defaults are DeepSpeed's.</remarks>
public sealed record OneCycleParams : ScheduleParams
{
    /// <summary>Learning rate at both ends of the cycle, per group.</summary>
    [JsonPropertyName("cycle_min_lr")]
    [JsonConverter(typeof(PerGroupConverter))]
    public IReadOnlyList<double> MinLearningRate { get; init; } = ValueList.Of(0.0);

    /// <summary>Learning rate at the top of the cycle, per group.</summary>
    [JsonPropertyName("cycle_max_lr")]
    [JsonConverter(typeof(PerGroupConverter))]
    public IReadOnlyList<double> MaxLearningRate { get; init; } = ValueList.Of(0.0);

    /// <summary>Strength of the learning rate's decay after the cycle.</summary>
    [JsonPropertyName("decay_lr_rate")]
    public double DecayLearningRate { get; init; }

    /// <summary>Optimizer steps from bottom to top.</summary>
    [JsonPropertyName("cycle_first_step_size")]
    public int FirstStepSize { get; init; } = 2000;

    /// <summary>Optimizer steps from top to bottom; null means as many as up.</summary>
    [JsonPropertyName("cycle_second_step_size")]
    public int? SecondStepSize { get; init; }

    /// <summary>Stairs on the way up; 0 is a straight line.</summary>
    [JsonPropertyName("cycle_first_stair_count")]
    public int FirstStairCount { get; init; }

    /// <summary>Stairs on the way down; null means as many as up.</summary>
    [JsonPropertyName("cycle_second_stair_count")]
    public int? SecondStairCount { get; init; }

    /// <summary>Optimizer steps of one unit of decay; 0 turns decay off.</summary>
    [JsonPropertyName("decay_step_size")]
    public int DecayStepSize { get; init; }

    /// <summary>Whether the first beta cycles too.</summary>
    [JsonPropertyName("cycle_momentum")]
    public bool CycleMomentum { get; init; } = true;

    /// <summary>First beta at the top of the cycle.</summary>
    [JsonPropertyName("cycle_min_mom")]
    public double MinMomentum { get; init; } = 0.8;

    /// <summary>First beta at both ends of the cycle.</summary>
    [JsonPropertyName("cycle_max_mom")]
    public double MaxMomentum { get; init; } = 0.9;

    /// <summary>Strength of the first beta's growth after the cycle.</summary>
    [JsonPropertyName("decay_mom_rate")]
    public double DecayMomentumRate { get; init; }

    internal static ScheduleParams Read(ConfigSection section)
    {
        var defaults = new OneCycleParams();
        return new OneCycleParams
        {
            MinLearningRate = section.PerGroup("cycle_min_lr", NumberRule.NotNegative)
                ?? section.Missing("cycle_min_lr", defaults.MinLearningRate, "0.0001"),
            MaxLearningRate = section.PerGroup("cycle_max_lr", NumberRule.NotNegative)
                ?? section.Missing("cycle_max_lr", defaults.MaxLearningRate, "0.001"),
            DecayLearningRate = section.Number("decay_lr_rate", NumberRule.NotNegative) ?? 0,
            FirstStepSize = section.Int("cycle_first_step_size", minimum: 1) ?? defaults.FirstStepSize,
            SecondStepSize = section.Int("cycle_second_step_size", minimum: 0),
            FirstStairCount = section.Int("cycle_first_stair_count", minimum: 0) ?? 0,
            SecondStairCount = section.Int("cycle_second_stair_count", minimum: 0),
            DecayStepSize = section.Int("decay_step_size", minimum: 0) ?? 0,
            CycleMomentum = section.Flag("cycle_momentum") ?? true,
            MinMomentum = section.Number("cycle_min_mom", NumberRule.Decay) ?? defaults.MinMomentum,
            MaxMomentum = section.Number("cycle_max_mom", NumberRule.Decay) ?? defaults.MaxMomentum,
            DecayMomentumRate = section.Number("decay_mom_rate", NumberRule.NotNegative) ?? 0,
        };
    }
}

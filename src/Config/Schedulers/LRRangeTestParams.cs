using System.Text.Json.Serialization;

namespace DeepSpeedSharp.Config;

/// <summary>Parameters of LRRangeTest: a learning rate that grows to show where training breaks.</summary>
/// <remarks>Smith, "Cyclical Learning Rates for Training Neural Networks", 2017, section 3.3. The defaults are DeepSpeed's.</remarks>
public sealed record LRRangeTestParams : ScheduleParams
{
    /// <summary>The first learning rate, per group.</summary>
    [JsonPropertyName("lr_range_test_min_lr")]
    [JsonConverter(typeof(PerGroupConverter))]
    public IReadOnlyList<double> MinLearningRate { get; init; } = ValueList.Of(1e-3);

    /// <summary>Optimizer steps of one unit of growth.</summary>
    [JsonPropertyName("lr_range_test_step_size")]
    public int StepSize { get; init; } = 2000;

    /// <summary>Growth per unit, as a multiple of the first learning rate.</summary>
    [JsonPropertyName("lr_range_test_step_rate")]
    public double StepRate { get; init; } = 1;

    /// <summary>Grows in stairs instead of steadily.</summary>
    [JsonPropertyName("lr_range_test_staircase")]
    public bool Staircase { get; init; }

    internal static ScheduleParams Read(ConfigSection section)
    {
        var defaults = new LRRangeTestParams();
        return new LRRangeTestParams
        {
            MinLearningRate = section.PerGroup("lr_range_test_min_lr", NumberRule.NotNegative) ?? defaults.MinLearningRate,
            StepSize = section.PlainInt("lr_range_test_step_size", minimum: 1) ?? defaults.StepSize,
            StepRate = section.Number("lr_range_test_step_rate", NumberRule.NotNegative) ?? defaults.StepRate,
            Staircase = section.Flag("lr_range_test_staircase") ?? false,
        };
    }
}

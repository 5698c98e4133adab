using System.Text.Json.Serialization;

namespace DeepSpeedSharp.Config;

/// <summary>What all optimizers have; each has a record of its own with the rest.</summary>
[JsonDerivedType(typeof(AdamParams))]
[JsonDerivedType(typeof(SgdParams))]
[JsonDerivedType(typeof(LambParams))]
[JsonDerivedType(typeof(LionParams))]
[JsonDerivedType(typeof(AdagradParams))]
[JsonDerivedType(typeof(MuonParams))]
public abstract record OptimizerParams
{
    /// <summary>Learning rate, unless a schedule sets another.</summary>
    [JsonPropertyName("lr")]
    public double LearningRate { get; init; } = 1e-3;

    /// <summary>Weight decay.</summary>
    [JsonPropertyName("weight_decay")]
    public double WeightDecay { get; init; }

    /// <summary>A clipping bound that some configs put here; null when absent. Training refuses it, because
    /// <see cref="DeepSpeedConfig.GradientClipping"/> is the place for it.</summary>
    [JsonPropertyName("max_grad_norm")]
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public double? MaxGradNorm { get; init; }

    /// <summary>Reads what all optimizers have; the rest keeps its defaults.</summary>
    private protected static T ReadShared<T>(ConfigSection section, T defaults) where T : OptimizerParams =>
        (T)((OptimizerParams)defaults with
        {
            LearningRate = section.Number("lr", NumberRule.NotNegative) ?? defaults.LearningRate,
            WeightDecay = section.Number("weight_decay", NumberRule.NotNegative) ?? defaults.WeightDecay,
            MaxGradNorm = section.Number("max_grad_norm", NumberRule.NotNegative),
        });
}

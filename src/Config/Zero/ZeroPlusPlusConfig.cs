using System.Text.Json.Serialization;

namespace DeepSpeedSharp.Config;

/// <summary>The keys of <c>zero_optimization</c> for ZeRO++ and MiCS; the defaults are DeepSpeed's.</summary>
/// <remarks>Wang et al., "ZeRO++", 2023; Zhang et al., "MiCS", 2022.</remarks>
public sealed record ZeroPlusPlusConfig
{
    /// <summary>Ranks of the second copy of parameters; 1 turns it off.</summary>
    [JsonPropertyName("zero_hpz_partition_size")]
    public int HpzPartitionSize { get; init; } = 1;

    /// <summary>Gathers parameters in 8 bits.</summary>
    [JsonPropertyName("zero_quantized_weights")]
    public bool QuantizedWeights { get; init; }

    /// <summary>Gathers frozen parameters in 8 bits.</summary>
    [JsonPropertyName("zero_quantized_nontrainable_weights")]
    public bool QuantizedNontrainableWeights { get; init; }

    /// <summary>Reduces gradients in 4 bits.</summary>
    [JsonPropertyName("zero_quantized_gradients")]
    public bool QuantizedGradients { get; init; }

    /// <summary>Feeds the error of quantized gradients back; null does not.</summary>
    [JsonPropertyName("zeropp_loco_param")]
    public ZeroLocoConfig? Loco { get; init; }

    /// <summary>Ranks of one MiCS shard group; -1 turns MiCS off.</summary>
    [JsonPropertyName("mics_shard_size")]
    public int MicsShardSize { get; init; } = -1;

    /// <summary>Gathers first between nodes, then inside them.</summary>
    [JsonPropertyName("mics_hierarchical_params_gather")]
    public bool MicsHierarchicalParamsGather { get; init; }

    internal static ZeroPlusPlusConfig Read(ConfigSection section) => new()
    {
        HpzPartitionSize = section.Int("zero_hpz_partition_size", minimum: 1) ?? 1,
        QuantizedWeights = section.Flag("zero_quantized_weights") ?? false,
        QuantizedNontrainableWeights = section.Flag("zero_quantized_nontrainable_weights") ?? false,
        QuantizedGradients = section.Flag("zero_quantized_gradients") ?? false,
        Loco = ZeroLocoConfig.Read(section),
        MicsShardSize = section.Int("mics_shard_size", minimum: -1) ?? -1,
        MicsHierarchicalParamsGather = section.Flag("mics_hierarchical_params_gather") ?? false,
    };
}

/// <summary>The <c>zero_optimization.zeropp_loco_param</c> section.</summary>
public sealed record ZeroLocoConfig
{
    /// <summary>Decay of the carried error.</summary>
    [JsonPropertyName("err_beta")]
    public double ErrorBeta { get; init; } = 0.8;

    /// <summary>Steps after which the carried error is forgotten.</summary>
    [JsonPropertyName("reset_T")]
    public int ResetSteps { get; init; } = 1024;

    internal static ZeroLocoConfig? Read(ConfigSection zero)
    {
        if (zero.Section("zeropp_loco_param") is not { } section)
        {
            return null;
        }

        var config = new ZeroLocoConfig
        {
            ErrorBeta = section.Number("err_beta", NumberRule.Fraction) ?? 0.8,
            ResetSteps = section.Int("reset_T", minimum: 1) ?? 1024,
        };
        section.End();
        return config;
    }
}

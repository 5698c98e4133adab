using System.Text.Json.Serialization;

namespace DeepSpeedSharp.Config;

/// <summary>The <c>bf16</c> section (<c>bfloat16</c> in older files); the defaults are DeepSpeed's.</summary>
public sealed record Bf16Config
{
    /// <summary>Whether parameters, activations and gradients are bf16.</summary>
    [JsonPropertyName("enabled")]
    public bool Enabled { get; init; }

    /// <summary>Adds each gradient to its fp32 sum as soon as it arrives.</summary>
    [JsonPropertyName("immediate_grad_update")]
    public bool ImmediateGradUpdate { get; init; }

    /// <summary>Skips steps whose gradients are not finite, although bf16 has no loss scale.</summary>
    [JsonPropertyName("check_grad_overflow")]
    public bool CheckGradOverflow { get; init; } = true;

    /// <summary>Keeps master weights and gradients in bf16 too.</summary>
    [JsonPropertyName("bf16_master_weights_and_grads")]
    public bool MasterWeightsAndGrads { get; init; }

    /// <summary>Keeps the optimizer's moments in bf16.</summary>
    [JsonPropertyName("bf16_optimizer_states")]
    public bool OptimizerStates { get; init; }
}

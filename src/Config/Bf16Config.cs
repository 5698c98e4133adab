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

    internal static Bf16Config Read(ConfigSection root)
    {
        root.Alias("bf16", "bfloat16");
        if (root.Section("bf16") is not { } section)
        {
            return new Bf16Config();
        }

        var config = new Bf16Config
        {
            Enabled = section.Flag("enabled") ?? false,
            ImmediateGradUpdate = section.Flag("immediate_grad_update") ?? false,
            CheckGradOverflow = section.Flag("check_grad_overflow") ?? true,
            MasterWeightsAndGrads = section.Flag("bf16_master_weights_and_grads") ?? false,
            OptimizerStates = section.Flag("bf16_optimizer_states") ?? false,
        };
        if (config is { OptimizerStates: true, MasterWeightsAndGrads: false })
        {
            section.Problem("bf16_optimizer_states", "moments in bf16 need master weights in bf16",
                "add \"bf16_master_weights_and_grads\": true, or remove it");
        }

        section.End();
        return config;
    }
}

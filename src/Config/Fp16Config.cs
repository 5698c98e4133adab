using System.Text.Json.Serialization;

namespace DeepSpeedSharp.Config;

/// <summary>The <c>fp16</c> section: half precision with a loss scale; the defaults are DeepSpeed's.</summary>
/// <remarks>Loss scaling: Micikevicius et al., "Mixed Precision Training", 2018, section 3.2.</remarks>
public sealed record Fp16Config
{
    /// <summary>Whether parameters, activations and gradients are fp16.</summary>
    [JsonPropertyName("enabled")]
    public bool Enabled { get; init; }

    /// <summary>Casts floating-point inputs of the forward pass to fp16.</summary>
    [JsonPropertyName("auto_cast")]
    public bool AutoCast { get; init; }

    /// <summary>Factor on the loss; 0 chooses it dynamically.</summary>
    [JsonPropertyName("loss_scale")]
    public double LossScale { get; init; }

    /// <summary>The first dynamic scale is 2 to this power.</summary>
    [JsonPropertyName("initial_scale_power")]
    public int InitialScalePower { get; init; } = 16;

    /// <summary>Steps without overflow after which a dynamic scale doubles.</summary>
    [JsonPropertyName("loss_scale_window")]
    public int LossScaleWindow { get; init; } = 1000;

    /// <summary>Overflows before a dynamic scale is halved.</summary>
    [JsonPropertyName("hysteresis")]
    public int Hysteresis { get; init; } = 2;

    /// <summary>Starts to count overflows anew after each step without one.</summary>
    [JsonPropertyName("consecutive_hysteresis")]
    public bool ConsecutiveHysteresis { get; init; }

    /// <summary>A dynamic scale never falls below this; a whole number, as in DeepSpeed.</summary>
    [JsonPropertyName("min_loss_scale")]
    public double MinLossScale { get; init; } = 1;

    /// <summary>Keeps master weights and gradients in fp16 too.</summary>
    [JsonPropertyName("fp16_master_weights_and_grads")]
    public bool MasterWeightsAndGrads { get; init; }

    internal static Fp16Config Read(ConfigSection root)
    {
        var defaults = new Fp16Config();
        if (root.Section("fp16") is not { } section)
        {
            return defaults;
        }

        bool enabled = section.Flag("enabled") ?? false;
        double lossScale = section.Number("loss_scale", NumberRule.NotNegative) ?? 0;

        // The numbers of a dynamic scale matter only when there is one.
        int minimum = enabled && lossScale == 0 ? 1 : 0;
        var config = new Fp16Config
        {
            Enabled = enabled,
            AutoCast = section.Flag("auto_cast") ?? false,
            LossScale = lossScale,
            InitialScalePower = section.Int("initial_scale_power", 0, 126) ?? defaults.InitialScalePower,
            LossScaleWindow = section.Int("loss_scale_window", minimum) ?? defaults.LossScaleWindow,
            Hysteresis = section.Int("hysteresis", minimum) ?? defaults.Hysteresis,
            ConsecutiveHysteresis = section.Flag("consecutive_hysteresis") ?? false,
            MinLossScale = section.Int("min_loss_scale", minimum) ?? defaults.MinLossScale,
            MasterWeightsAndGrads = section.Flag("fp16_master_weights_and_grads") ?? false,
        };
        section.End();
        return config;
    }
}

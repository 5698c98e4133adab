using System.Text.Json.Serialization;

namespace DeepSpeedSharp.Config;

/// <summary>The <c>amp</c> section: mixed precision by NVIDIA's Apex, which does not exist here.</summary>
public sealed record AmpConfig
{
    /// <summary>Whether it is asked for.</summary>
    [JsonPropertyName("enabled")]
    public bool Enabled { get; init; }

    internal static AmpConfig Read(ConfigSection root)
    {
        if (root.Section("amp") is not { } section)
        {
            return new AmpConfig();
        }

        // The other keys are Apex's, and matter only when it is on, which training refuses.
        section.Accept("opt_level", "cast_model_type", "patch_torch_functions", "keep_batchnorm_fp32", "master_weights",
            "cast_model_outputs", "num_losses", "verbosity", "loss_scale", "min_loss_scale", "max_loss_scale");
        var config = new AmpConfig { Enabled = section.Flag("enabled") ?? false };
        section.End();
        return config;
    }
}

using System.Text.Json.Serialization;

namespace DeepSpeedSharp.Config;

/// <summary>Parameters of SGD with momentum, as in PyTorch.</summary>
public sealed record SgdParams : OptimizerParams
{
    /// <summary>Decay of the velocity; 0 is plain SGD.</summary>
    [JsonPropertyName("momentum")]
    public double Momentum { get; init; }

    /// <summary>Looks one step of the velocity ahead.</summary>
    [JsonPropertyName("nesterov")]
    public bool Nesterov { get; init; }

    internal static OptimizerParams Read(ConfigSection section)
    {
        SgdParams defaults = ReadShared(section, new SgdParams());
        SgdParams config = defaults with
        {
            Momentum = section.Number("momentum", NumberRule.NotNegative) ?? 0,
            Nesterov = section.Flag("nesterov") ?? false,
        };
        if (section.Number("dampening", NumberRule.Any) is not (null or 0))
        {
            section.Problem("dampening", "dampening is not supported", "remove it");
        }

        if (config is { Nesterov: true, Momentum: 0 })
        {
            section.Problem("nesterov", "it needs momentum", "add \"momentum\", for example 0.9, or remove it");
        }

        return config;
    }
}

using System.Text.Json.Serialization;

namespace DeepSpeedSharp.Config;

/// <summary>The <c>optimizer</c> section: <c>{"type": name, "params": {...}}</c>.</summary>
public sealed record OptimizerConfig
{
    /// <summary>Adam, AdamW, SGD, Lamb, Lion, Adagrad or Muon; read in any case, kept in this one.</summary>
    [JsonPropertyName("type")]
    public required string Type { get; init; }

    /// <summary>The optimizer's numbers, in the record of its type.</summary>
    [JsonPropertyName("params")]
    public OptimizerParams Params { get; init; } = new AdamParams();

    private static readonly Dictionary<string, Func<ConfigSection, OptimizerParams>> Known =
        new(StringComparer.OrdinalIgnoreCase)
        {
            ["Adam"] = AdamParams.Read,
            ["AdamW"] = AdamParams.Read,
            ["SGD"] = SgdParams.Read,
            ["Lamb"] = LambParams.Read,
            ["Lion"] = LionParams.Read,
            ["Adagrad"] = AdagradParams.Read,
            ["Muon"] = MuonParams.Read,
        };

    private static readonly Dictionary<string, string> Unsupported = new(StringComparer.OrdinalIgnoreCase)
    {
        ["OneBitAdam"] = "use Adam",
        ["ZeroOneAdam"] = "use Adam",
        ["OneBitLamb"] = "use Lamb",
        ["MuAdam"] = "use Adam, with learning rates scaled per parameter group",
        ["MuAdamW"] = "use AdamW, with learning rates scaled per parameter group",
        ["MuSGD"] = "use SGD, with learning rates scaled per parameter group",
    };

    internal static OptimizerConfig? Read(ConfigSection root)
    {
        if (root.Section("optimizer") is not { } section)
        {
            return null;
        }

        string? name = section.Text("type");
        string type = Known.Keys.FirstOrDefault(k => k.Equals(name, StringComparison.OrdinalIgnoreCase)) ?? "";
        if (name is null && !section.Has("type"))
        {
            section.Problem("type", "the optimizer has no type", "add \"type\": \"AdamW\"");
        }
        else if (name is not null && Unsupported.TryGetValue(name, out string? fix))
        {
            section.Problem("type", $"the optimizer {name} is not supported", fix);
        }
        else if (name is not null && type.Length == 0)
        {
            section.Problem("type", $"there is no optimizer {name}", NearestName.Find(name, Known.Keys) is { } near
                ? $"did you mean \"{near}\"?" : $"use one of {string.Join(", ", Known.Keys)}");
        }

        if (section.Flag("legacy_fusion") == true)
        {
            section.Problem("legacy_fusion", "the older flattening of parameters does not exist here", "remove it");
        }

        // The parameters of an unknown optimizer would only produce follow-up errors.
        section.Accept("params");
        OptimizerConfig? config = type.Length == 0 ? null : new OptimizerConfig { Type = type, Params = ReadParams(section, type) };
        section.End();
        return config;
    }

    /// <summary>DeepSpeed clears a clipping bound here unless it trains in fp16; its presence is refused later.</summary>
    internal static OptimizerConfig? ClearMaxGradNorm(OptimizerConfig? config, bool isFp16) =>
        config is { Params.MaxGradNorm: not null } && !isFp16
            ? config with { Params = config.Params with { MaxGradNorm = 0 } } : config;

    private static OptimizerParams ReadParams(ConfigSection optimizer, string type)
    {
        ConfigSection section = optimizer.Section("params") ?? optimizer.Empty("params");
        OptimizerParams parameters = Known[type](section);
        if (type == "AdamW" && parameters is AdamParams { AdamWMode: false })
        {
            section.Problem("adam_w_mode", "AdamW always decays decoupled from the gradient",
                "write \"type\": \"Adam\" for L2 decay, or remove it");
        }

        section.End();
        return parameters;
    }
}

using System.Text.Json.Serialization;

namespace DeepSpeedSharp.Config;

/// <summary>The <c>scheduler</c> section: <c>{"type": "WarmupLR", "params": {...}}</c>.</summary>
public sealed record ScheduleConfig
{
    /// <summary>Name of the schedule.</summary>
    [JsonPropertyName("type")]
    public required string Type { get; init; }

    /// <summary>The schedule's numbers.</summary>
    [JsonPropertyName("params")]
    public WarmupConfig Params { get; init; } = new();

    private static readonly string[] Later = ["LRRangeTest", "OneCycle", "WarmupDecayLR", "WarmupCosineLR"];

    internal static ScheduleConfig? Read(ConfigSection root)
    {
        if (root.Section("scheduler") is not { } section)
        {
            return null;
        }

        string? type = section.Text("type");
        if (type is null && !section.Has("type"))
        {
            section.Problem("type", "the scheduler has no type", "add \"type\": \"WarmupLR\"");
        }
        else if (type is not null and not "WarmupLR")
        {
            section.Problem("type", Later.Contains(type)
                ? $"the schedule {type} is not supported yet" : $"there is no schedule {type}", "use WarmupLR");
        }

        // The parameters of another schedule would only produce follow-up errors.
        WarmupConfig parameters = type is "WarmupLR" && section.Section("params") is { } p
            ? WarmupConfig.Read(p) : new WarmupConfig();
        section.Accept("params");
        section.End();
        return new ScheduleConfig { Type = type ?? "WarmupLR", Params = parameters };
    }
}

/// <summary>Parameters of WarmupLR; the defaults are DeepSpeed's.</summary>
public sealed record WarmupConfig
{
    /// <summary>Learning rate at the start of the warm-up.</summary>
    [JsonPropertyName("warmup_min_lr")]
    public double MinLearningRate { get; init; }

    /// <summary>Learning rate after the warm-up; null means the optimizer's.</summary>
    [JsonPropertyName("warmup_max_lr")]
    public double? MaxLearningRate { get; init; }

    /// <summary>Length of the warm-up in optimizer steps; DeepSpeed treats 1 as 2.</summary>
    [JsonPropertyName("warmup_num_steps")]
    public int Steps { get; init; } = 1000;

    /// <summary>"log" or "linear".</summary>
    [JsonPropertyName("warmup_type")]
    public string Type { get; init; } = "log";

    internal static WarmupConfig Read(ConfigSection section)
    {
        var defaults = new WarmupConfig();
        var config = new WarmupConfig
        {
            MinLearningRate = section.Number("warmup_min_lr", v => v >= 0, "a number of at least 0") ?? 0,
            MaxLearningRate = section.Number("warmup_max_lr", v => v >= 0, "a number of at least 0"),
            Steps = section.Int("warmup_num_steps", minimum: 1) ?? defaults.Steps,
            Type = section.Text("warmup_type") ?? defaults.Type,
        };
        if (config.Type is not ("log" or "linear"))
        {
            section.Problem("warmup_type", $"there is no warm-up \"{config.Type}\"", "use \"log\" or \"linear\"");
        }

        section.End();
        return config;
    }
}

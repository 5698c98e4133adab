using System.Text.Json.Serialization;

namespace DeepSpeedSharp.Config;

/// <summary>The <c>scheduler</c> section: <c>{"type": "WarmupLR", "params": {...}}</c>.</summary>
public sealed record ScheduleConfig
{
    /// <summary>LRRangeTest, OneCycle, WarmupLR, WarmupDecayLR or WarmupCosineLR.</summary>
    [JsonPropertyName("type")]
    public required string Type { get; init; }

    /// <summary>The schedule's numbers, in the record of its type.</summary>
    [JsonPropertyName("params")]
    public ScheduleParams Params { get; init; } = new WarmupParams();

    private static readonly Dictionary<string, Func<ConfigSection, ScheduleParams>> Known = new()
    {
        ["WarmupLR"] = WarmupParams.Read,
        ["WarmupDecayLR"] = WarmupDecayParams.Read,
        ["WarmupCosineLR"] = WarmupCosineParams.Read,
        ["OneCycle"] = OneCycleParams.Read,
        ["LRRangeTest"] = LRRangeTestParams.Read,
    };

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
        else if (type is not null && !Known.ContainsKey(type))
        {
            section.Problem("type", $"there is no schedule {type}", NearestName.Find(type, Known.Keys) is { } near
                ? $"did you mean \"{near}\"?" : $"use one of {string.Join(", ", Known.Keys)}");
        }

        // The parameters of an unknown schedule would only produce follow-up errors.
        section.Accept("params");
        ScheduleConfig? config = null;
        if (type is not null && Known.TryGetValue(type, out Func<ConfigSection, ScheduleParams>? read))
        {
            ConfigSection parameters = section.Section("params") ?? section.Empty("params");
            config = new ScheduleConfig { Type = type, Params = read(parameters) };
            // Hugging Face's examples write it.
            if (parameters.Long("last_batch_iteration", minimum: -1) is >= 0 and { } iteration)
            {
                parameters.Problem("last_batch_iteration", $"a schedule cannot begin at iteration {iteration}",
                    "use -1, or remove it; training resumes from its checkpoint, which knows the iteration");
            }

            parameters.End();
        }

        section.End();
        return config;
    }
}

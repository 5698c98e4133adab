using System.Text.Json.Serialization;

namespace DeepSpeedSharp.Config;

/// <summary>The <c>timers</c> section.</summary>
public sealed record TimersConfig
{
    /// <summary>The timer behind samples per second.</summary>
    [JsonPropertyName("throughput")]
    public ThroughputTimerConfig Throughput { get; init; } = new();

    internal static TimersConfig Read(ConfigSection root)
    {
        if (root.Section("timers") is not { } section)
        {
            return new TimersConfig();
        }

        var config = new TimersConfig { Throughput = ThroughputTimerConfig.Read(section) };
        section.End();
        return config;
    }
}

/// <summary>The <c>timers.throughput</c> section.</summary>
public sealed record ThroughputTimerConfig
{
    /// <summary>Whether throughput is measured.</summary>
    [JsonPropertyName("enabled")]
    public bool Enabled { get; init; } = true;

    /// <summary>Waits for the device before a time is taken.</summary>
    [JsonPropertyName("synchronized")]
    public bool Synchronized { get; init; } = true;

    internal static ThroughputTimerConfig Read(ConfigSection timers)
    {
        if (timers.Section("throughput") is not { } section)
        {
            return new ThroughputTimerConfig();
        }

        var config = new ThroughputTimerConfig
        {
            Enabled = section.Flag("enabled") ?? true,
            Synchronized = section.Flag("synchronized") ?? true,
        };
        section.End();
        return config;
    }
}

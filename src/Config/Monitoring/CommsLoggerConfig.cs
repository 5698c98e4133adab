using System.Text.Json.Serialization;

namespace DeepSpeedSharp.Config;

/// <summary>The <c>comms_logger</c> section: times and bandwidths of collectives.</summary>
/// <remarks>DeepSpeed logs as soon as the section is there; here <see cref="Enabled"/> decides.</remarks>
public sealed record CommsLoggerConfig
{
    /// <summary>Whether collectives are logged.</summary>
    [JsonPropertyName("enabled")]
    public bool Enabled { get; init; }

    /// <summary>Prints each collective when it ends.</summary>
    [JsonPropertyName("verbose")]
    public bool Verbose { get; init; }

    /// <summary>Logs every kind of collective, not only those of <see cref="ProfOps"/>.</summary>
    [JsonPropertyName("prof_all")]
    public bool ProfAll { get; init; } = true;

    /// <summary>Adds the caller's name to each line.</summary>
    [JsonPropertyName("debug")]
    public bool Debug { get; init; }

    /// <summary>The collectives to log when <see cref="ProfAll"/> is off.</summary>
    [JsonPropertyName("prof_ops")]
    public IReadOnlyList<string> ProfOps { get; init; } = ValueList.Of<string>();

    internal static CommsLoggerConfig Read(ConfigSection root)
    {
        var defaults = new CommsLoggerConfig();
        if (root.Section("comms_logger") is not { } section)
        {
            return defaults;
        }

        var config = new CommsLoggerConfig
        {
            Enabled = section.Flag("enabled") ?? false,
            Verbose = section.Flag("verbose") ?? false,
            ProfAll = section.Flag("prof_all") ?? true,
            Debug = section.Flag("debug") ?? false,
            ProfOps = section.Texts("prof_ops") ?? defaults.ProfOps,
        };
        section.End();
        return config;
    }
}

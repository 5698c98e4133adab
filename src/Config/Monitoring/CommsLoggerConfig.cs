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

    /// <summary>Keeps a record for each thing that is moved ("gradient bucket 3"), not only for each kind of collective.</summary>
    [JsonPropertyName("debug")]
    public bool Debug { get; init; }

    /// <summary>The collectives to log when <see cref="ProfAll"/> is off, by DeepSpeed's names: <c>all_reduce</c>, <c>all_gather</c>.</summary>
    [JsonPropertyName("prof_ops")]
    public IReadOnlyList<string> ProfOps { get; init; } = ValueList.Of<string>();

    /// <summary>Whether a collective is logged.</summary>
    /// <param name="operation">DeepSpeed's name for it.</param>
    public bool Logs(string operation) => ProfAll || CommsOperations.Matches(ProfOps, operation);

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
        foreach (string unknown in config.ProfOps.Except(CommsOperations.All))
        {
            section.Problem("prof_ops", $"there is no collective {unknown}", NearestName.Find(unknown, CommsOperations.All) is { } near
                ? $"did you mean {near}?" : $"use one of {string.Join(", ", CommsOperations.All)}");
        }

        section.End();
        return config;
    }
}

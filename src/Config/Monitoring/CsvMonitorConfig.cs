using System.Text.Json.Serialization;

namespace DeepSpeedSharp.Config;

/// <summary>The <c>csv_monitor</c> section: metrics as one CSV file per metric, written by rank 0.</summary>
public sealed record CsvMonitorConfig
{
    /// <summary>Whether metrics are written.</summary>
    [JsonPropertyName("enabled")]
    public bool Enabled { get; init; }

    /// <summary>Folder of all runs; empty chooses one.</summary>
    [JsonPropertyName("output_path")]
    public string OutputPath { get; init; } = "";

    /// <summary>Folder of this run inside <see cref="OutputPath"/>.</summary>
    [JsonPropertyName("job_name")]
    public string JobName { get; init; } = "DeepSpeedJobName";

    internal static CsvMonitorConfig Read(ConfigSection root)
    {
        var defaults = new CsvMonitorConfig();
        if (root.Section("csv_monitor") is not { } section)
        {
            return defaults;
        }

        var config = new CsvMonitorConfig
        {
            Enabled = section.Flag("enabled") ?? false,
            OutputPath = section.Text("output_path") ?? defaults.OutputPath,
            JobName = section.Text("job_name") ?? defaults.JobName,
        };
        section.End();
        return config;
    }
}

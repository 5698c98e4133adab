using System.Text.Json.Serialization;

namespace DeepSpeedSharp.Config;

/// <summary>The <c>tensorboard</c> section: metrics as TensorBoard event files, written by rank 0.</summary>
public sealed record TensorBoardConfig
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

    internal static TensorBoardConfig Read(ConfigSection root)
    {
        var defaults = new TensorBoardConfig();
        if (root.Section("tensorboard") is not { } section)
        {
            return defaults;
        }

        var config = new TensorBoardConfig
        {
            Enabled = section.Flag("enabled") ?? false,
            OutputPath = section.Text("output_path") ?? defaults.OutputPath,
            JobName = section.Text("job_name") ?? defaults.JobName,
        };
        section.End();
        return config;
    }
}

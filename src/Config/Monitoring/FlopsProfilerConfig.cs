using System.Text.Json.Serialization;

namespace DeepSpeedSharp.Config;

/// <summary>The <c>flops_profiler</c> section: counts and times the work of one step, module by module.</summary>
public sealed record FlopsProfilerConfig
{
    /// <summary>Whether a step is profiled; also turns the wall-clock timers on.</summary>
    [JsonPropertyName("enabled")]
    public bool Enabled { get; init; }

    /// <summary>Forward passes that are computed again during backward, as a fraction of one.</summary>
    [JsonPropertyName("recompute_fwd_factor")]
    public double RecomputeFwdFactor { get; init; }

    /// <summary>The optimizer step that is profiled.</summary>
    [JsonPropertyName("profile_step")]
    public int ProfileStep { get; init; } = 1;

    /// <summary>Depth of modules in the summary; -1 goes to the innermost.</summary>
    [JsonPropertyName("module_depth")]
    public int ModuleDepth { get; init; } = -1;

    /// <summary>Modules in the summary, the largest first.</summary>
    [JsonPropertyName("top_modules")]
    public int TopModules { get; init; } = 1;

    /// <summary>Adds a table of every module.</summary>
    [JsonPropertyName("detailed")]
    public bool Detailed { get; init; } = true;

    /// <summary>File for the report; null prints it.</summary>
    [JsonPropertyName("output_file")]
    public string? OutputFile { get; init; }

    internal static FlopsProfilerConfig Read(ConfigSection root)
    {
        var defaults = new FlopsProfilerConfig();
        if (root.Section("flops_profiler") is not { } section)
        {
            return defaults;
        }

        var config = new FlopsProfilerConfig
        {
            Enabled = section.Flag("enabled") ?? false,
            RecomputeFwdFactor = section.Number("recompute_fwd_factor", NumberRule.NotNegative) ?? 0,
            ProfileStep = section.Int("profile_step", minimum: 1) ?? defaults.ProfileStep,
            ModuleDepth = section.Int("module_depth", minimum: -1) ?? defaults.ModuleDepth,
            TopModules = section.Int("top_modules", minimum: 1) ?? defaults.TopModules,
            Detailed = section.Flag("detailed") ?? defaults.Detailed,
            OutputFile = section.Text("output_file"),
        };
        section.End();
        return config;
    }
}

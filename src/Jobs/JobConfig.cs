using System.Text.Json;
using System.Text.Json.Nodes;
using DeepSpeedSharp.Config;

namespace DeepSpeedSharp.Jobs;

/// <summary>A job's DeepSpeed config as the engine's own code reads it, for a number of ranks.</summary>
/// <param name="Problems">Everything that keeps the job from training.</param>
/// <param name="Batch">The three batch sizes; null with a problem, or when the program fills an "auto".</param>
public sealed record JobConfig(IReadOnlyList<ConfigError> Problems, BatchPlan? Batch)
{
    // What a program other than our worker cannot see differently either.
    private static readonly string[] Arithmetic =
        ["$", "train_batch_size", "train_micro_batch_size_per_gpu", "gradient_accumulation_steps", "elasticity", "sequence_parallel_size"];

    /// <summary>Checks a config against the number of ranks of a job, and, for our worker, against what the engine can do.</summary>
    /// <remarks>
    /// A value "auto" is no problem: the job's program may fill it from its arguments. Images with their own DeepSpeed may know
    /// settings that this project does not, so for them only the text and the arithmetic of batch sizes count.
    /// </remarks>
    /// <param name="json">The config.</param>
    /// <param name="spec">The job, whose <c>numNodes</c> is the number of nodes to check for.</param>
    public static JobConfig Check(string json, DeepSpeedJobSpec spec)
    {
        ConfigReport report = ConfigReport.ForJob(json, spec.WorldSize());
        bool isOurs = spec.Mode() == LaunchMode.Worker;
        ConfigError[] problems = isOurs
            ? [.. report.Errors, .. report.Unsupported]
            : [.. report.Errors.Where(e => Arithmetic.Any(p => e.Path == p || e.Path.StartsWith(p + ".", StringComparison.Ordinal)))];
        return new JobConfig(problems, problems.Length == 0 ? report.Batch : null);
    }

    /// <summary>The elasticity section as JSON when it is enabled; null otherwise.</summary>
    /// <param name="json">The config.</param>
    public static string? Elasticity(string? json)
    {
        if (json is null)
        {
            return null;
        }

        try
        {
            JsonNode? section = JsonNode.Parse(json, documentOptions: new JsonDocumentOptions
            {
                AllowTrailingCommas = true,
                CommentHandling = JsonCommentHandling.Skip,
            })?["elasticity"];
            return section is JsonObject && (bool?)section["enabled"] == true ? section.ToJsonString() : null;
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException or FormatException)
        {
            // Told by the check of the config.
            return null;
        }
    }

    /// <summary>The numbers of nodes an elastic job may run with.</summary>
    /// <param name="json">The config; null when the job has none, and then every number fits.</param>
    /// <param name="spec">A spec with <c>elastic</c>.</param>
    public static IReadOnlyList<int> NodeCounts(string? json, DeepSpeedJobSpec spec)
    {
        (int fewest, int most) = (spec.Elastic!.MinNodes, spec.Elastic.MaxNodes);
        IEnumerable<int> all = Enumerable.Range(fewest, Math.Max(0, most - fewest + 1));
        return json is null ? [.. all] : [.. all.Where(n => Check(json, spec with { NumNodes = n }).Problems.Count == 0)];
    }
}

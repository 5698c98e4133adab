using System.Globalization;
using System.Text.Json;
using DeepSpeedSharp.Operator.Api.V1Alpha1;

namespace DeepSpeedSharp.Launcher.Cluster;

/// <summary>Jobs in words. Pure.</summary>
internal static class JobText
{
    /// <summary>A text of a JSON object; null when it has none of that name.</summary>
    public static string? Text(JsonElement element, string name) =>
        element.ValueKind == JsonValueKind.Object && element.TryGetProperty(name, out JsonElement value)
        && value.ValueKind == JsonValueKind.String ? value.GetString() : null;

    /// <summary>Where training stands, in a line; null when nothing is known.</summary>
    public static string? Progress(JobProgress? progress)
    {
        if (progress?.Step is not { } step)
        {
            return null;
        }

        string[] parts =
        [
            progress.TotalSteps is { } total ? $"step {step} of {total}" : $"step {step}",
            progress.Loss is { } loss ? $"loss {loss}" : "",
            progress.TokensPerSecond is { } speed ? string.Create(CultureInfo.InvariantCulture, $"{speed:#,0} tokens/s") : "",
            progress.EtaSeconds is > 0 and { } eta ? $"{Duration(TimeSpan.FromSeconds(eta))} left" : "",
            progress.LastCheckpointStep is { } saved ? $"saved at step {saved}" : "",
        ];
        return string.Join(", ", parts.Where(part => part.Length > 0));
    }

    /// <summary>A time span as kubectl writes ages: 42s, 5m, 3h, 2d.</summary>
    public static string Duration(TimeSpan time) => time switch
    {
        { TotalSeconds: < 120 } => $"{Math.Max(0, (long)time.TotalSeconds)}s",
        { TotalMinutes: < 120 } => $"{(long)time.TotalMinutes}m",
        { TotalHours: < 48 } => $"{(long)time.TotalHours}h",
        _ => $"{(long)time.TotalDays}d",
    };

    /// <summary>A failure in a sentence.</summary>
    public static string Failure(JobFailure failure)
    {
        // The operator's own sentences name node, pod, machine and exit code.
        if (failure.Message?.Contains($"node {failure.Node} (", StringComparison.OrdinalIgnoreCase) == true)
        {
            return $"attempt {failure.Attempt} ({failure.Reason}): {failure.Message}";
        }

        string code = failure.ExitCode is { } exit ? $" with {ExitCodeText.Describe(exit)}" : "";
        string message = string.IsNullOrEmpty(failure.Message) ? "" : $": {failure.Message}";
        return $"attempt {failure.Attempt}, node {failure.Node} ({failure.Reason}){code}{message}";
    }

    /// <summary>Rows in columns as wide as their contents; the last column is not filled up.</summary>
    public static IEnumerable<string> Table(IReadOnlyList<IReadOnlyList<string>> rows)
    {
        int[] widths = [.. Enumerable.Range(0, rows[0].Count).Select(i => rows.Max(row => row[i].Length))];
        return rows.Select(row => string.Join("  ", row.Select((cell, i) => cell.PadRight(widths[i]))).TrimEnd());
    }

    /// <summary>The age of an object.</summary>
    public static string Age(JsonElement job, DateTimeOffset now) =>
        DateTimeOffset.TryParse(Text(job.GetProperty("metadata"), "creationTimestamp"), CultureInfo.InvariantCulture, out DateTimeOffset made)
            ? Duration(now - made) : "";
}

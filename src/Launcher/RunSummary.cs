using System.Globalization;
using System.Text.Json;

namespace DeepSpeedSharp.Launcher;

/// <summary>What a run says at its end: how it went, and where everything is.</summary>
internal static class RunSummary
{
    private const int TailBytes = 64 * 1024;

    /// <summary>Writes the summary.</summary>
    public static void Write(LocalJob job, int attempt, int restarts, string state, RunConsole console)
    {
        console.Say($"job {job.Manifest.Name} {state}"
            + (restarts == 0 ? "" : restarts == 1 ? ", after 1 restart" : $", after {restarts} restarts"));
        string? checkpoints = job.CheckpointFolder;
        string? metrics = checkpoints is null ? null : Path.Combine(checkpoints, "metrics.jsonl");
        metrics = File.Exists(metrics) ? metrics : null;
        foreach (string line in AlignedRows.Format(
        [
            ("last step", metrics is null ? null : LastStep(metrics)),
            ("checkpoints", checkpoints is null ? null : $"{RunFolder.Show(checkpoints)} ({Newest(checkpoints)})"),
            ("metrics", metrics is null ? null : RunFolder.Show(metrics)),
            ("logs", RunFolder.Show(job.Folder.Attempt(attempt))),
        ]))
        {
            console.Detail(line);
        }
    }

    private static string Newest(string checkpoints)
    {
        string latest = Path.Combine(checkpoints, "latest");
        return File.Exists(latest) ? $"newest: {File.ReadAllText(latest).Trim()}" : "none saved yet";
    }

    // The last line that is whole: a rank that was killed may have left half of one.
    private static string? LastStep(string metrics)
    {
        foreach (string line in Tail(metrics).Split('\n').Reverse())
        {
            try
            {
                using JsonDocument document = JsonDocument.Parse(line);
                if (document.RootElement is { ValueKind: JsonValueKind.Object } row && Number(row, "step") is { } step)
                {
                    string loss = Number(row, "loss") is { } value
                        ? string.Create(CultureInfo.InvariantCulture, $", loss {value:G6}") : "";
                    return string.Create(CultureInfo.InvariantCulture, $"{step}{loss}");
                }
            }
            catch (JsonException)
            {
            }
        }

        return null;
    }

    private static double? Number(JsonElement row, string name) =>
        row.TryGetProperty(name, out JsonElement value) && value.ValueKind == JsonValueKind.Number
            ? value.GetDouble() : null;

    private static string Tail(string path)
    {
        using var stream = new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite);
        stream.Seek(-Math.Min(TailBytes, stream.Length), SeekOrigin.End);
        return new StreamReader(stream).ReadToEnd();
    }
}

using System.CommandLine;
using System.Text.Json.Nodes;
using DeepSpeedSharp.Checkpoints;

namespace DeepSpeedSharp.Launcher;

/// <summary><c>deepspeed checkpoint list</c>: the checkpoints of a folder, the newest first.</summary>
internal static class CheckpointListCommand
{
    private sealed record Row(string Tag, bool IsLatest, CheckpointManifest? Manifest, string? Problem);

    public static Command Create()
    {
        var folder = new Argument<string>("FOLDER") { Description = "Folder of checkpoints." };
        UsageError.RefuseOptions(folder);
        Option<bool> json = CheckpointCommand.Json();
        var command = new Command("list", "Show the checkpoints of a folder, the newest first.") { folder, json };
        command.SetAction(parsed => CheckpointCommand.Run(parsed.GetValue(json), () => List(parsed.GetValue(folder)!)));
        return command;
    }

    private static (JsonObject, IEnumerable<string>, bool) List(string folder)
    {
        if (!Directory.Exists(folder))
        {
            throw new CheckpointException($"{folder} is not a folder; give the folder of checkpoints");
        }

        if (File.Exists(Path.Combine(folder, CheckpointManifest.FileName)))
        {
            throw new CheckpointException($"{folder} is one checkpoint; list shows those of the folder around it, and verify takes this one");
        }

        string? latest = CheckpointDirectory.Latest(folder);
        Row[] rows = [.. CheckpointDirectory.Newest(folder).Select(path => Read(path, latest))];
        var result = new JsonObject
        {
            ["ok"] = true,
            ["latest"] = latest,
            ["checkpoints"] = new JsonArray([.. rows.Select(ToJson)]),
        };
        IEnumerable<string> lines = rows.Length == 0 ? [$"no checkpoint in {folder}"] : Table(rows);
        return (result, latest is null || rows.Any(row => row.IsLatest) ? lines
            : lines.Append($"{CheckpointDirectory.LatestFileName} names none of them; write a tag into it, or training resumes from the newest"), true);
    }

    private static Row Read(string path, string? latest)
    {
        string tag = Path.GetFileName(path);
        try
        {
            return new Row(tag, tag == latest, CheckpointManifest.Read(path), null);
        }
        catch (CheckpointException e)
        {
            return new Row(tag, tag == latest, null, e.Message);
        }
    }

    private static JsonObject ToJson(Row row) => row.Manifest is not { } manifest
        ? new JsonObject { ["tag"] = row.Tag, ["latest"] = row.IsLatest, ["problem"] = row.Problem }
        : new JsonObject
        {
            ["tag"] = row.Tag,
            ["latest"] = row.IsLatest,
            ["global_steps"] = manifest.GlobalSteps,
            ["world_size"] = manifest.WorldSize,
            ["zero_stage"] = manifest.ZeroStage,
            ["parameters"] = CheckpointCommand.Elements(manifest),
            ["bytes"] = manifest.Files.Sum(file => file.Bytes),
            ["format"] = manifest.Format,
        };

    private static IEnumerable<string> Table(IReadOnlyList<Row> rows)
    {
        int width = rows.Max(row => row.Tag.Length);
        return rows.Select(row => $"{(row.IsLatest ? "*" : " ")} {row.Tag.PadRight(width)}  " + (row.Manifest is { } manifest
            ? FormattableString.Invariant($"step {manifest.GlobalSteps}, {CheckpointCommand.Elements(manifest):#,0} values, ")
                + $"{CheckpointCommand.Size(manifest.Files.Sum(file => file.Bytes))}, saved by {manifest.WorldSize} rank{(manifest.WorldSize == 1 ? "" : "s")} in stage {manifest.ZeroStage}"
            : $"not readable: {row.Problem}"));
    }
}

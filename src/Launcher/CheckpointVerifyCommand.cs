using System.CommandLine;
using System.Text.Json.Nodes;
using DeepSpeedSharp.Checkpoints;

namespace DeepSpeedSharp.Launcher;

/// <summary><c>deepspeed checkpoint verify</c>: reads every byte of a checkpoint and compares checksums.</summary>
internal static class CheckpointVerifyCommand
{
    public static Command Create()
    {
        Argument<string> folder = CheckpointCommand.Folder();
        Option<string?> tag = CheckpointCommand.Tag();
        Option<bool> json = CheckpointCommand.Json();
        var command = new Command("verify", "Read every byte of a checkpoint and compare checksums.") { folder, tag, json };
        command.SetAction(parsed => CheckpointCommand.Run(parsed.GetValue(json), () => Verify(parsed.GetValue(folder)!, parsed.GetValue(tag))));
        return command;
    }

    private static (JsonObject, IEnumerable<string>, bool) Verify(string folder, string? tag)
    {
        string path = CheckpointCommand.Find(folder, tag);
        CheckpointManifest manifest = CheckpointManifest.Read(path);
        IReadOnlyList<string> problems = CheckpointVerification.Problems(path, manifest, manifest.Files, Environment.ProcessorCount);
        long bytes = manifest.Files.Sum(file => file.Bytes);
        var result = new JsonObject
        {
            ["ok"] = problems.Count == 0,
            ["checkpoint"] = path,
            ["global_steps"] = manifest.GlobalSteps,
            ["files"] = manifest.Files.Count,
            ["bytes"] = bytes,
            ["problems"] = new JsonArray([.. problems.Select(problem => (JsonNode)problem)]),
        };
        string[] lines = problems.Count == 0
            ? [$"{path} is whole: {manifest.Files.Count} files, {CheckpointCommand.Size(bytes)}, {manifest.Tensors.Count} tensors"]
            : [$"{path} is damaged:", .. problems.Select(problem => $"  {problem}"), "load another tag: deepspeed checkpoint list shows them"];
        return (result, lines, problems.Count == 0);
    }
}

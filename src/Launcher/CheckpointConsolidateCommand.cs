using System.CommandLine;
using System.CommandLine.Parsing;
using System.Globalization;
using System.Text.Json.Nodes;
using DeepSpeedSharp.Checkpoints;

namespace DeepSpeedSharp.Launcher;

/// <summary><c>deepspeed checkpoint consolidate</c>: a checkpoint's model as a Hugging Face folder.</summary>
internal static class CheckpointConsolidateCommand
{
    private static readonly (string Name, string Type)[] Types = [("fp32", "F32"), ("bf16", "BF16"), ("fp16", "F16")];

    public static Command Create()
    {
        Argument<string> folder = CheckpointCommand.Folder();
        var output = new Argument<string>("OUTPUT") { Description = "Folder to write; made when missing." };
        UsageError.RefuseOptions(output);
        Option<string?> tag = CheckpointCommand.Tag();
        var type = new Option<string>("--dtype") { DefaultValueFactory = _ => "fp32", HelpName = "fp32|bf16|fp16", Description = "Number type of the weights." };
        type.AcceptOnlyFromAmong([.. Types.Select(t => t.Name)]);
        var largest = new Option<long>("--max-shard-size", "--max_shard_size")
        {
            DefaultValueFactory = _ => 5_000_000_000, // 5GB, as Transformers has it
            HelpName = "SIZE",
            Description = "Largest size of one file of weights, such as 500MB; more become several with an index.",
            CustomParser = ReadSize,
        };
        Option<bool> json = CheckpointCommand.Json();
        var command = new Command("consolidate", "Write a checkpoint's model as a Hugging Face folder, whatever ranks and ZeRO stage saved it.")
        {
            folder, output, tag, type, largest, json,
        };
        command.SetAction(parsed => CheckpointCommand.Run(parsed.GetValue(json), () => Consolidate(parsed.GetValue(folder)!,
            parsed.GetValue(tag), parsed.GetValue(output)!, parsed.GetValue(type)!, parsed.GetValue(largest))));
        return command;
    }

    /// <summary>Reads a size: bytes, or a number with KB, MB, GB (of 1000) or KiB, MiB, GiB (of 1024).</summary>
    public static long ReadSize(ArgumentResult result)
    {
        string text = result.Tokens[0].Value;
        (string Unit, double Bytes)[] units =
            [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("KB", 1e3), ("MB", 1e6), ("GB", 1e9), ("B", 1), ("", 1)];
        (string unit, double bytes) = units.First(u => text.EndsWith(u.Unit, StringComparison.OrdinalIgnoreCase));
        if (double.TryParse(text[..^unit.Length], NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out double number)
            && number * bytes is >= 1 and < 1e18)
        {
            return (long)(number * bytes);
        }

        result.AddError($"--max-shard-size {text} is not a size; write for example 5GB or 500MB");
        return 0;
    }

    // A checkpoint's folder holds what its manifest names, and nothing else.
    private static void CheckOutput(string output)
    {
        if (File.Exists(output))
        {
            throw new CheckpointException($"{output} is a file; give a folder, which is made when missing");
        }

        if (File.Exists(Path.Combine(output, CheckpointManifest.FileName)) || File.Exists(Path.Combine(output, CheckpointDirectory.LatestFileName)))
        {
            throw new CheckpointException($"{output} has checkpoints; give another folder for the Hugging Face model");
        }
    }

    private static (JsonObject, IEnumerable<string>, bool) Consolidate(string folder, string? tag, string output, string type, long largest)
    {
        string path = CheckpointCommand.Find(folder, tag);
        CheckpointManifest manifest = CheckpointManifest.Read(path);
        CheckOutput(output);
        // Only what is read, and before anything is written.
        var model = manifest.Model.SelectMany(t => t.Pieces).Select(piece => piece.File).ToHashSet();
        if (CheckpointVerification.Problems(path, manifest, manifest.Files.Where(f => model.Contains(f.Name)), Environment.ProcessorCount) is [_, ..] problems)
        {
            throw new CheckpointException($"checkpoint {path} is damaged: {string.Join("; ", problems)}; choose another with --tag");
        }

        HuggingFaceFiles files = HuggingFaceExport.Write(path, manifest, output, Types.First(t => t.Name == type).Type, largest);
        var result = new JsonObject
        {
            ["ok"] = true,
            ["checkpoint"] = path,
            ["global_steps"] = manifest.GlobalSteps,
            ["output"] = output,
            ["dtype"] = type,
            ["files"] = new JsonArray([.. files.Files.Select(file => (JsonNode)file)]),
            ["copied"] = new JsonArray([.. files.Copied.Select(file => (JsonNode)file)]),
            ["tensors"] = files.Tensors,
            ["bytes"] = files.Bytes,
            ["beyond_range"] = files.BeyondRange,
        };
        List<string> lines = [$"{output}: {files.Tensors} tensors of step {manifest.GlobalSteps}, {CheckpointCommand.Size(files.Bytes)} of {type} in {files.Files.Count} file{(files.Files.Count == 1 ? "" : "s")}"];
        lines.AddRange(files.Copied.Count > 0 ? [$"with {string.Join(", ", files.Copied)}"]
            : [$"without {HuggingFaceExport.ConfigFile}: none is beside the checkpoint; copy the model's there before Transformers loads it"]);
        lines.AddRange(files.BeyondRange == 0 ? [] : [FormattableString.Invariant($"{files.BeyondRange:#,0} values are beyond the range of {type} and became infinite; use bf16 or fp32")]);
        return (result, lines, true);
    }
}

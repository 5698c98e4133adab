using System.CommandLine;
using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Nodes;
using DeepSpeedSharp.Checkpoints;
using DeepSpeedSharp.Config;

namespace DeepSpeedSharp.Launcher;

/// <summary><c>deepspeed checkpoint</c>: looks into checkpoints, and exports them. Works on files alone.</summary>
internal static class CheckpointCommand
{
    private static readonly JsonSerializerOptions Readable =
        new() { WriteIndented = true, Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    public static Command Create() => new("checkpoint", "List, verify and export checkpoints.")
    {
        CheckpointListCommand.Create(), CheckpointVerifyCommand.Create(), CheckpointConsolidateCommand.Create(),
    };

    /// <summary>The folder of checkpoints, or one checkpoint.</summary>
    public static Argument<string> Folder()
    {
        var folder = new Argument<string>("FOLDER") { Description = "Folder of checkpoints, or of one of them." };
        UsageError.RefuseOptions(folder);
        return folder;
    }

    public static Option<string?> Tag() => new("--tag", "-t") { HelpName = "TAG", Description = "Which checkpoint (default: the one that latest names)." };

    public static Option<bool> Json() => new("--json") { Description = "Print the result as JSON." };

    /// <summary>Runs a command; a damaged or missing checkpoint is an exit code and a message.</summary>
    /// <param name="json">Whether the message is JSON.</param>
    /// <param name="run">Gives the result as JSON and as lines for people.</param>
    public static int Run(bool json, Func<(JsonObject Result, IEnumerable<string> Lines, bool IsGood)> run)
    {
        try
        {
            (JsonObject result, IEnumerable<string> lines, bool isGood) = run();
            (isGood || json ? Console.Out : Console.Error).WriteLine(json ? result.ToJsonString(Readable) : string.Join(Environment.NewLine, lines));
            return isGood ? ExitCodes.Done : ExitCodes.BadData;
        }
        catch (Exception e) when (e is CheckpointException or IOException or UnauthorizedAccessException)
        {
            if (json)
            {
                Console.Out.WriteLine(new JsonObject { ["ok"] = false, ["error"] = Message(e) }.ToJsonString(Readable));
            }
            else
            {
                Console.Error.WriteLine($"deepspeed: {Message(e)}");
            }

            return e is CheckpointException { IsPassing: false } ? ExitCodes.BadData
                : e is UnauthorizedAccessException ? ExitCodes.Configuration : ExitCodes.Temporary;
        }
    }

    private static string Message(Exception e) =>
        e is UnauthorizedAccessException ? $"{e.Message.TrimEnd('.')}; correct its permissions, or use another folder" : e.Message;

    /// <summary>The checkpoint that a command line means.</summary>
    /// <exception cref="CheckpointException">There is none.</exception>
    public static string Find(string folder, string? tag)
    {
        if (tag is null && File.Exists(Path.Combine(folder, CheckpointManifest.FileName)))
        {
            return folder;
        }

        if (!Directory.Exists(folder))
        {
            throw new CheckpointException($"{folder} is not a folder; give the folder of checkpoints");
        }

        string source = tag is null ? $"{CheckpointDirectory.LatestFileName} names" : "--tag is";
        tag ??= CheckpointDirectory.Latest(folder) ?? throw new CheckpointException(
            $"{folder} is no checkpoint and has no file {CheckpointDirectory.LatestFileName}; give the folder of checkpoints, or a tag");
        if (CheckpointDirectory.IsTag(tag) && CheckpointDirectory.FolderOf(folder, tag) is { } found && Directory.Exists(found))
        {
            return found;
        }

        string[] tags = [.. CheckpointDirectory.Newest(folder).Select(path => Path.GetFileName(path))];
        string shown = tag.Length == 0 ? "nothing" : CheckpointDirectory.IsTag(tag) ? tag : "something that is no tag";
        throw new CheckpointException($"{source} {shown}, and there is no such checkpoint in {folder}; "
            + (tags.Length == 0 ? "it has none" : $"give --tag with one of {string.Join(", ", tags.Take(8))}"));
    }

    /// <summary>Bytes for people.</summary>
    public static string Size(long bytes) => bytes < 1_000_000 ? FormattableString.Invariant($"{bytes:#,0} bytes")
        : bytes < 1_000_000_000 ? FormattableString.Invariant($"{bytes / 1e6:0.0} MB") : FormattableString.Invariant($"{bytes / 1e9:0.00} GB");

    /// <summary>Values of the parameters and buffers; those of the optimizer and of random numbers not counted.</summary>
    public static long Elements(CheckpointManifest manifest) => manifest.Model.Sum(t => t.Elements);
}

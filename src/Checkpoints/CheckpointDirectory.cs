using System.Text;

namespace DeepSpeedSharp.Checkpoints;

/// <summary>A folder of checkpoints: one folder for each tag, and the file <c>latest</c>.</summary>
internal static class CheckpointDirectory
{
    public const string LatestFileName = "latest";

    private const string TrainingPrefix = "global_step"; // of tags that training itself gives
    private const string Aside = ".old";
    private const string Unfinished = ".tmp";

    /// <summary>The default tag of a step.</summary>
    public static string TagOf(long globalSteps) => $"{TrainingPrefix}{globalSteps}";

    /// <summary>The tag that <c>latest</c> names; null when there is no such file.</summary>
    public static string? Latest(string directory)
    {
        string path = Path.Combine(directory, LatestFileName);
        return File.Exists(path) ? File.ReadAllText(path).Trim() : null;
    }

    /// <summary>A folder to write a checkpoint to, which nobody else uses and readers do not see.</summary>
    public static string Temporary(string directory, string tag, string unique) => Path.Combine(directory, $".{tag}.{unique}{Unfinished}");

    /// <summary>Whether a text can be a checkpoint's tag: a plain file name that nothing else here has.</summary>
    public static bool IsTag(string text) => text.Length is > 0 and <= 255 && text[0] != '.' && !text.AsSpan().ContainsAny("/\\\n\0")
        && text != LatestFileName && !text.EndsWith(Aside, StringComparison.Ordinal);

    /// <summary>The folder of a tag.</summary>
    /// <remarks>After a crash in the middle of replacing a checkpoint by one of the same tag, the earlier one is beside its place.</remarks>
    public static string FolderOf(string directory, string tag)
    {
        string folder = Path.Combine(directory, tag);
        return !IsComplete(folder) && IsComplete(folder + Aside) ? folder + Aside : folder;
    }

    /// <summary>Folders that have a manifest, the newest first.</summary>
    public static IReadOnlyList<string> Newest(string directory) => !Directory.Exists(directory) ? []
        : [.. Directory.GetDirectories(directory).Where(IsComplete)
            .Where(path => !Path.GetFileName(path).StartsWith('.') && !path.EndsWith(Aside, StringComparison.Ordinal))
            .Select(path => (Path: path, Steps: StepsOf(path))).OrderByDescending(found => found.Steps)
            .ThenByDescending(found => found.Path, StringComparer.Ordinal).Select(found => found.Path)];

    /// <summary>Folders that have a manifest and are not newer than a checkpoint, without that one, the newest first.</summary>
    /// <param name="directory">The folder of checkpoints.</param>
    /// <param name="folder">The checkpoint; when its manifest is damaged, its tag tells its step.</param>
    public static IReadOnlyList<string> Before(string directory, string folder)
    {
        string tag = Path.GetFileName(folder);
        long limit = StepsOf(folder) is >= 0 and var steps ? steps
            : tag.StartsWith(TrainingPrefix, StringComparison.Ordinal) && long.TryParse(tag[TrainingPrefix.Length..], out long number) ? number
            : long.MaxValue;
        return [.. Newest(directory).Where(path => path != folder && StepsOf(path) <= limit)];
    }

    /// <summary>Puts a written checkpoint in its place, and then names it in <c>latest</c>.</summary>
    /// <param name="directory">The folder of checkpoints.</param>
    /// <param name="temporary">Where it was written; all its files are on disk. Everything is published by renames out of
    /// the folder that it lies in, so that whoever takes that folder away ends this.</param>
    /// <param name="manifest">Its manifest.</param>
    /// <param name="saveLatest">False leaves <c>latest</c> as it is.</param>
    /// <returns>Its folder.</returns>
    public static string Complete(string directory, string temporary, CheckpointManifest manifest, bool saveLatest)
    {
        manifest.ThrowIfIncomplete(temporary);
        string folder = Path.Combine(directory, manifest.Tag);
        DurableFiles.Replace(Path.Combine(temporary, CheckpointManifest.FileName), manifest.ToBytes());
        DurableFiles.ReplaceFolder(temporary, folder, folder + Aside);
        if (saveLatest)
        {
            DurableFiles.Replace(Path.Combine(directory, LatestFileName), Encoding.UTF8.GetBytes(manifest.Tag),
                Path.GetDirectoryName(temporary)!);
        }

        return folder;
    }

    /// <summary>Deletes what processes that were killed have left. Only whoever alone writes here may call this.</summary>
    public static void RemoveLeftovers(string directory)
    {
        foreach (string aside in Directory.GetDirectories(directory, "*" + Aside))
        {
            string place = aside[..^Aside.Length];
            if (!Path.GetFileName(aside).StartsWith('.') && IsComplete(aside) && !IsComplete(place))
            {
                // The earlier checkpoint of a tag whose replacement never came.
                DurableFiles.ReplaceFolder(aside, place, place + ".broken" + Aside);
                continue;
            }

            Directory.Delete(aside, recursive: true);
        }

        foreach (string left in Directory.GetDirectories(directory, ".*" + Unfinished))
        {
            Directory.Delete(left, recursive: true);
        }
    }

    /// <summary>Takes a folder away from whoever writes in it: at once by a rename, then its files.</summary>
    /// <param name="directory">The folder of checkpoints.</param>
    /// <param name="folder">A folder in it.</param>
    public static void Discard(string directory, string folder)
    {
        string aside = Path.Combine(directory, $".{Guid.NewGuid().ToString("N")[..8]}{Unfinished}");
        try
        {
            Directory.Move(folder, aside);
            Directory.Delete(aside, recursive: true);
        }
        catch (IOException) when (!Directory.Exists(folder))
        {
            // Somebody else was faster, or still writes to an open file in there: the next save removes the rest.
        }
    }

    /// <summary>Deletes all but the newest checkpoints that training itself has saved; never the one that <c>latest</c> names.</summary>
    /// <param name="directory">The folder of checkpoints.</param>
    /// <param name="count">How many to keep, at least 1.</param>
    public static void Keep(string directory, int count)
    {
        string? latest = Latest(directory);
        IEnumerable<string> doomed = Directory.GetDirectories(directory, TrainingPrefix + "*")
            .Select(path => (Path: path, Name: Path.GetFileName(path)))
            .Where(found => long.TryParse(found.Name[TrainingPrefix.Length..], out _))
            .OrderByDescending(found => long.Parse(found.Name[TrainingPrefix.Length..], System.Globalization.CultureInfo.InvariantCulture))
            .Skip(count).Where(found => found.Name != latest).Select(found => found.Path);
        foreach (string path in doomed)
        {
            // Out of sight first: a crash in the middle of deleting must not leave half a checkpoint under its name.
            string aside = Path.Combine(directory, $".{Path.GetFileName(path)}{Aside}");
            Directory.Move(path, aside);
            Directory.Delete(aside, recursive: true);
        }
    }

    private static bool IsComplete(string folder) => File.Exists(Path.Combine(folder, CheckpointManifest.FileName));

    private static long StepsOf(string folder)
    {
        try
        {
            return CheckpointManifest.Read(folder).GlobalSteps;
        }
        catch (CheckpointException)
        {
            return -1; // damaged: after all others, so that its problem is still told
        }
    }
}

namespace DeepSpeedSharp.Worker;

/// <summary>Keeps the newest checkpoints of a run.</summary>
internal static class CheckpointRotation
{
    private const string Prefix = "global_step";

    /// <summary>Deletes all but the newest checkpoints that training itself has saved.</summary>
    /// <param name="directory">Folder of checkpoints.</param>
    /// <param name="count">How many to keep, at least 1.</param>
    public static void Keep(string directory, int count)
    {
        IEnumerable<string> old = Directory.GetDirectories(directory, Prefix + "*")
            .Where(path => long.TryParse(Path.GetFileName(path)[Prefix.Length..], out _))
            .OrderByDescending(path => long.Parse(Path.GetFileName(path)[Prefix.Length..], System.Globalization.CultureInfo.InvariantCulture))
            .Skip(count);
        foreach (string path in old)
        {
            // Out of sight first: a crash in the middle of deleting must not leave half a checkpoint under its name.
            string doomed = Path.Combine(directory, $".{Path.GetFileName(path)}.old");
            Directory.Move(path, doomed);
            Directory.Delete(doomed, recursive: true);
        }
    }
}

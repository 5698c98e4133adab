using DeepSpeedSharp.Engine.Comm;

namespace DeepSpeedSharp.Engine.Checkpoint;

/// <summary>The weights alone, in one file that Hugging Face's programs read.</summary>
internal static class WeightsFile
{
    /// <summary>Writes it, on the first rank. Every rank must call this.</summary>
    /// <param name="directory">Folder; created when missing.</param>
    /// <param name="fileName">Name of the file.</param>
    /// <param name="group">The ranks.</param>
    /// <param name="tensors">What is in it; asked for on the first rank only.</param>
    /// <returns>Path of the file.</returns>
    public static string Save(string directory, string fileName, ProcessGroup group, Func<IReadOnlyList<StatePiece>> tensors)
    {
        string path = Path.Combine(directory, fileName);
        Agreement.OnFirst(group, $"{fileName} was not saved", "writing the weights", () =>
        {
            Directory.CreateDirectory(directory);
            string part = path + ".part";
            ShardFiles.WriteFile(part, tensors(), new WritePace());
            File.Move(part, path, overwrite: true);
            DurableFiles.SyncFolder(Path.GetFullPath(directory));
            return true;
        });
        return path;
    }
}

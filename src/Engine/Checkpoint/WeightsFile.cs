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
    /// <param name="takingPart">Disposed on every rank when the file is written, or could not be: what the other ranks have to do
    /// for the tensors, and what is left of it on the first one.</param>
    /// <returns>Path of the file.</returns>
    public static string Save(string directory, string fileName, ProcessGroup group, Func<IReadOnlyList<StatePiece>> tensors,
        IDisposable takingPart)
    {
        string path = Path.Combine(directory, fileName);
        Agreement.OnAll(group, $"{fileName} was not saved", "writing the weights", () =>
        {
            using IDisposable part = takingPart; // also when the disk fails: the other ranks wait
            if (group.Rank != 0)
            {
                return true;
            }

            Directory.CreateDirectory(directory);
            string partial = path + ".part";
            ShardFiles.WriteFile(partial, tensors(), new WritePace());
            File.Move(partial, path, overwrite: true);
            DurableFiles.SyncFolder(Path.GetFullPath(directory));
            return true;
        });
        return path;
    }
}

using DeepSpeedSharp.Engine.Comm;
using DeepSpeedSharp.Engine.Zero;

namespace DeepSpeedSharp.Engine.Checkpoint;

/// <summary>The weights alone, in one file that Hugging Face's programs read.</summary>
internal static class WeightsFile
{
    /// <summary>Writes it, on the first rank. Every rank must call this.</summary>
    /// <param name="directory">Folder; created when missing.</param>
    /// <param name="fileName">Name of the file.</param>
    /// <param name="group">The ranks.</param>
    /// <param name="partitioned">Parameters of which no rank has the whole; they are gathered one after the other, in this order.</param>
    /// <param name="tensors">What is in it, given those; asked for on the first rank only.</param>
    /// <returns>Path of the file.</returns>
    public static string Save(string directory, string fileName, ProcessGroup group,
        IReadOnlyList<PartitionedParameter> partitioned, Func<WeightsInTurn, IReadOnlyList<StatePiece>> tensors)
    {
        string path = Path.Combine(directory, fileName);
        Agreement.OnAll(group, $"{fileName} was not saved", "writing the weights", () =>
        {
            using var weights = new WeightsInTurn(partitioned); // also when the disk fails: the other ranks wait for them
            if (group.Rank != 0)
            {
                return true;
            }

            Directory.CreateDirectory(directory);
            string part = path + ".part";
            ShardFiles.WriteFile(part, tensors(weights), new WritePace());
            File.Move(part, path, overwrite: true);
            DurableFiles.SyncFolder(Path.GetFullPath(directory));
            return true;
        });
        return path;
    }
}

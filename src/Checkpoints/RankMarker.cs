using System.Text.Json;

namespace DeepSpeedSharp.Checkpoints;

/// <summary>What one rank has written of a checkpoint.</summary>
/// <param name="Files">Its files.</param>
/// <param name="Tensors">What is in them.</param>
internal sealed record RankPart(IReadOnlyList<FileRecord> Files, IReadOnlyList<TensorRecord> Tensors)
{
    /// <summary>A rank that writes nothing.</summary>
    public static RankPart Nothing { get; } = new([], []);

    /// <summary>Why the rank could not write; null when its files are on disk.</summary>
    public string? Error { get; init; }

    /// <summary>Whether trying again may help.</summary>
    public bool IsPassing { get; init; }
}

/// <summary>How ranks tell the first one, through the folder of an unfinished checkpoint, that their files are on disk.</summary>
/// <remarks>
/// A checkpoint that is written behind must not use collectives: they would come between those of training, on each rank
/// at another place. The ranks share the file system anyway, so each leaves a file there, and the first one looks for them.
/// </remarks>
internal static class RankMarker
{
    private static readonly TimeSpan Pause = TimeSpan.FromMilliseconds(50);

    /// <summary>Says how writing went. All of the rank's files are on disk.</summary>
    public static void Write(string folder, int rank, RankPart part) =>
        DurableFiles.Replace(PathOf(folder, rank), JsonSerializer.SerializeToUtf8Bytes(part, CheckpointManifest.Json));

    /// <summary>Waits for all ranks.</summary>
    /// <param name="folder">Folder of the unfinished checkpoint.</param>
    /// <param name="worldSize">Number of ranks.</param>
    /// <param name="patience">How long nothing may change in the folder.</param>
    /// <param name="clock">The clock.</param>
    /// <param name="cancel">Ends the wait early.</param>
    /// <returns>The parts, by rank.</returns>
    /// <exception cref="CheckpointException">A rank could not write, or does not go on.</exception>
    public static IReadOnlyList<RankPart> Await(string folder, int worldSize, TimeSpan patience, TimeProvider clock, CancellationToken cancel)
    {
        var parts = new RankPart?[worldSize];
        long changed = clock.GetTimestamp();
        DateTime newest = default;
        while (true)
        {
            for (int rank = 0; rank < worldSize; rank++)
            {
                parts[rank] ??= Read(PathOf(folder, rank));
                if (parts[rank] is { Error: { } error } failed)
                {
                    throw new CheckpointException($"writing its files failed on rank {rank}: {error}") { IsPassing = failed.IsPassing };
                }
            }

            if (Array.TrueForAll(parts, part => part is not null))
            {
                return parts!;
            }

            DateTime touched = Directory.GetFiles(folder).Select(File.GetLastWriteTimeUtc).DefaultIfEmpty().Max();
            if (touched != newest)
            {
                (newest, changed) = (touched, clock.GetTimestamp());
            }

            if (clock.GetElapsedTime(changed) > patience || cancel.WaitHandle.WaitOne(Pause))
            {
                throw new CheckpointException($"no sign that rank {string.Join(", ", parts.Select((part, rank) => (part, rank))
                    .Where(pair => pair.part is null).Select(pair => pair.rank))} has written its files"
                    + (cancel.IsCancellationRequested ? "; this process ends" : $", and nothing was written for {patience.TotalSeconds:0} s; look at its log"))
                {
                    IsPassing = true,
                };
            }
        }
    }

    /// <summary>Removes what <see cref="Write"/> has left.</summary>
    public static void RemoveAll(string folder, int worldSize)
    {
        for (int rank = 0; rank < worldSize; rank++)
        {
            File.Delete(PathOf(folder, rank));
        }
    }

    private static string PathOf(string folder, int rank) => Path.Combine(folder, $".rank_{rank:00000}.done");

    private static RankPart? Read(string path) => File.Exists(path)
        ? JsonSerializer.Deserialize<RankPart>(File.ReadAllText(path), CheckpointManifest.Json) : null;
}

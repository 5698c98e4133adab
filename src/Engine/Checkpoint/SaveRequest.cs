using System.Text.Json.Nodes;

namespace DeepSpeedSharp.Engine.Checkpoint;

/// <summary>One call of SaveCheckpoint, when the ranks have agreed on its tag.</summary>
/// <param name="Directory">Folder of checkpoints.</param>
/// <param name="Tag">Name of this one.</param>
/// <param name="ZeroStage">Stage that writes it.</param>
/// <param name="State">What is not tensors, as it is at the time of the call.</param>
/// <param name="Pieces">What this rank writes.</param>
/// <param name="Options">The caller's.</param>
internal sealed record SaveRequest(string Directory, string Tag, int ZeroStage, JsonObject State, IReadOnlyList<StatePiece> Pieces,
    SaveCheckpointOptions Options)
{
    /// <summary>Where the files go until all are on disk.</summary>
    public string Temporary { get; init; } = "";

    /// <summary>The attempt that writes; null when nobody numbers the starts of this program.</summary>
    public Attempt? Attempt { get; init; }

    /// <summary>Where the checkpoint will be.</summary>
    public string Folder => Path.Combine(Directory, Tag);

    /// <summary>Makes the folder for the files, on the first rank.</summary>
    /// <returns>Its path: <see cref="Temporary"/>.</returns>
    /// <exception cref="CheckpointException">Another attempt, or another job, writes to this folder of checkpoints now.</exception>
    public string Prepare() => Fenced(() =>
    {
        System.IO.Directory.CreateDirectory(Directory);
        string? work = Attempt is null ? null : AttemptLease.WorkFolder(Directory, Attempt);
        if (Attempt is not null)
        {
            AttemptLease.Check(Directory, Attempt);
            if (!System.IO.Directory.Exists(work))
            {
                AttemptLease.Take(Directory, Attempt); // a program that did not at its start
            }

            CheckpointDirectory.RemoveLeftovers(work!);
        }

        CheckpointDirectory.RemoveLeftovers(Directory); // of processes that were killed; nobody else writes here
        string temporary = CheckpointDirectory.Temporary(Directory, Tag, Guid.NewGuid().ToString("N")[..8]);
        System.IO.Directory.CreateDirectory(temporary);
        if (work is null)
        {
            return temporary;
        }

        // Moved there and not made there, which would bring a work folder back that a later attempt has taken away.
        string place = Path.Combine(work, Path.GetFileName(temporary));
        System.IO.Directory.Move(temporary, place);
        return place;
    });

    /// <summary>Writes a rank's files.</summary>
    public RankPart Write(int rank, WritePace pace) => Fenced(() => ShardFiles.Write(Temporary, rank, Pieces, pace));

    /// <summary>Puts a written checkpoint in its place, on the first rank.</summary>
    /// <param name="parts">What the ranks have written.</param>
    /// <param name="warn">Is told when an old checkpoint cannot be deleted.</param>
    /// <exception cref="CheckpointException">Another attempt, or another job, writes to this folder of checkpoints now.</exception>
    public void Complete(IReadOnlyList<RankPart> parts, Action<string> warn)
    {
        if (Attempt is not null)
        {
            AttemptLease.Check(Directory, Attempt);
        }

        Fenced(() => Publish(parts));
        try
        {
            if (Options.KeepLast is { } count)
            {
                CheckpointDirectory.Keep(Directory, count);
            }
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            warn($"an old checkpoint could not be removed: {e.Message}");
        }
    }

    /// <summary>The renames alone. They fail once a later attempt has begun, whatever was seen before.</summary>
    internal string Publish(IReadOnlyList<RankPart> parts)
    {
        var manifest = new CheckpointManifest
        {
            Tag = Tag,
            WorldSize = parts.Count,
            ZeroStage = ZeroStage,
            State = State,
            Files = [.. parts.SelectMany(part => part.Files)],
            Tensors = CheckpointManifest.Merge(parts.Select(part => part.Tensors)),
        };
        return CheckpointDirectory.Complete(Directory, Temporary, manifest, Options.SaveLatest);
    }

    /// <summary>Runs a step in the folder for the files. What cannot be found any more may have been taken away, and then
    /// that is what has to be said.</summary>
    public T Fenced<T>(Func<T> step)
    {
        try
        {
            return step();
        }
        catch (Exception e) when (Attempt is not null && (e is IOException or CheckpointException))
        {
            AttemptLease.Check(Directory, Attempt!);
            throw;
        }
    }
}

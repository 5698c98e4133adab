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

    /// <summary>Where the checkpoint will be.</summary>
    public string Folder => Path.Combine(Directory, Tag);

    /// <summary>Puts a written checkpoint in its place, on the first rank.</summary>
    /// <param name="parts">What the ranks have written.</param>
    /// <param name="warn">Is told when an old checkpoint cannot be deleted.</param>
    public void Complete(IReadOnlyList<RankPart> parts, Action<string> warn)
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
        AttemptLease.Check(Directory);
        CheckpointDirectory.Complete(Directory, Temporary, manifest, Options.SaveLatest);
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
}

using DeepSpeedSharp.Engine.Comm;
using TorchSharp;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine.Checkpoint;

/// <summary>Loads checkpoints: the first rank chooses one, all verify its files together, then each reads what it needs.</summary>
/// <remarks>Nothing of the model changes before every byte of the files has passed its checksum.</remarks>
/// <param name="group">The ranks.</param>
/// <param name="device">Where this rank trains.</param>
/// <param name="warn">Shows a warning, on the first rank.</param>
internal sealed class CheckpointLoader(ProcessGroup group, Device device, Action<string> warn)
{
    private const int LargestThreads = 4; // reading at once, on one rank

    /// <summary>Loads one. Every rank must call this.</summary>
    /// <param name="directory">Folder of checkpoints.</param>
    /// <param name="tag">Name of one; null is the latest.</param>
    /// <param name="options">What to load.</param>
    /// <param name="target">What to load it into.</param>
    /// <returns>Its folder and manifest; null when there is none.</returns>
    /// <exception cref="CheckpointException">It is damaged, or of another model.</exception>
    public (string Folder, CheckpointManifest Manifest)? Load(string directory, string? tag, LoadCheckpointOptions options, LoadTarget target)
    {
        List<string> candidates = Agreement.OnFirst(group, $"no checkpoint of {directory} was loaded", "looking for one",
            () => Candidates(directory, tag, options.FallBackToPrevious));
        for (int i = 0; i < candidates.Count; i++)
        {
            try
            {
                return (candidates[i], Load(candidates[i], options, target));
            }
            catch (CheckpointException e) when (e.IsDamage && i + 1 < candidates.Count)
            {
                warn($"{e.Message}; trying {Path.GetFileName(candidates[i + 1])}, an earlier one");
            }
        }

        return null;
    }

    private static List<string> Candidates(string directory, string? tag, bool fallsBack)
    {
        if (tag is not null)
        {
            return CheckpointDirectory.IsTag(tag) ? [CheckpointDirectory.FolderOf(directory, tag)]
                : throw new CheckpointException($"\"{tag}\" is no checkpoint's tag; give the name of a folder in {directory}");
        }

        if (CheckpointDirectory.Latest(directory) is not { } latest)
        {
            return [];
        }

        // latest may name a folder that is gone, after a crash in the middle of replacing it, or be damaged itself.
        bool isTag = CheckpointDirectory.IsTag(latest);
        string folder = isTag ? CheckpointDirectory.FolderOf(directory, latest) : directory;
        bool isThere = isTag && File.Exists(Path.Combine(folder, CheckpointManifest.FileName));
        List<string> found = isThere ? [folder, .. fallsBack ? CheckpointDirectory.Before(directory, folder) : []]
            : [.. CheckpointDirectory.Newest(directory)];
        return found.Count > 0 ? found : [folder];
    }

    private CheckpointManifest Load(string folder, LoadCheckpointOptions options, LoadTarget target)
    {
        string subject = $"checkpoint {folder} was not loaded";
        string text = Agreement.OnFirst(group, subject, "reading its manifest", () => CheckpointManifest.ReadText(folder));
        CheckpointManifest manifest = Agreed(subject, "checking its manifest", () =>
        {
            CheckpointManifest parsed = CheckpointManifest.Parse(folder, text);
            target.Check(folder, parsed, options);
            return parsed;
        });
        Agreed(subject, "verifying its files", () => Verify(folder, manifest, options));
        Agreed($"checkpoint {folder} was read in part only, so the model is not usable; load again", "reading it", () =>
        {
            Read(folder, manifest, options, target);
            return true;
        });
        return manifest;
    }

    private T Agreed<T>(string subject, string what, Func<T> step)
    {
        T? mine = default;
        Agreement.OnAll(group, subject, what, () =>
        {
            mine = step();
            return true;
        });
        return mine!;
    }

    // Each rank verifies some of the files. What is not going to be read is not verified either.
    private bool Verify(string folder, CheckpointManifest manifest, LoadCheckpointOptions options)
    {
        bool isWeightsOnly = options.LoadModuleOnly;
        var model = manifest.Model.SelectMany(t => t.Pieces).Select(piece => piece.File).ToHashSet();
        IEnumerable<FileRecord> mine = manifest.Files.Where(file => !isWeightsOnly || model.Contains(file.Name))
            .Where((_, i) => i % group.WorldSize == group.Rank);
        int threads = Math.Clamp(Environment.ProcessorCount / group.WorldSize, 1, LargestThreads);
        IReadOnlyList<string> problems = CheckpointVerification.Problems(folder, manifest, mine, threads);
        return problems.Count == 0 ? true : throw new CheckpointException(
            $"checkpoint {folder} is damaged: {string.Join("; ", problems)}; load another tag")
        { IsDamage = true };
    }

    private void Read(string folder, CheckpointManifest manifest, LoadCheckpointOptions options, LoadTarget target)
    {
        using DisposeScope scope = NewDisposeScope();
        using IDisposable noGrad = no_grad();
        using var tensors = new CheckpointTensors(folder, manifest);
        Dictionary<(string?, string), TensorRecord> stored = manifest.Tensors.ToDictionary(t => (t.State, t.Name));
        if (options.CustomLoad is { } load)
        {
            foreach ((string name, Tensor value) in load(new CheckpointWeights(tensors)))
            {
                using (value)
                {
                    target.SetWhole(name, value);
                }
            }
        }

        IEnumerable<StatePiece> wanted = (options.CustomLoad is null ? target.Model : [])
            .Concat(options.LoadOptimizerStates && !options.LoadModuleOnly ? target.Optimizer : []);
        foreach (StatePiece piece in wanted)
        {
            if (stored.TryGetValue((piece.State, piece.Name), out TensorRecord? tensor) && piece.Range.Length > 0)
            {
                TensorRanges.Read(tensors, tensor, piece.Range, piece.Write);
            }
        }

        // With another number of ranks there is nothing to restore: each rank keeps its freshly seeded numbers.
        if (!options.LoadModuleOnly && manifest.WorldSize == group.WorldSize)
        {
            RandomState.Set(tensors, group.Rank, device);
        }
    }
}

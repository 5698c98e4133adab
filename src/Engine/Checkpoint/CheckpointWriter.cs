using System.Text;
using System.Text.Json;
using DeepSpeedSharp.Engine.Comm;
using DeepSpeedSharp.Engine.Optim;
using DeepSpeedSharp.Engine.Zero;
using TorchSharp;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine.Checkpoint;

/// <summary>Writes a checkpoint: files to a folder of its own, manifest last, then one rename, then <c>latest</c>.</summary>
/// <remarks>
/// A crash at any point leaves the earlier checkpoints and a <c>latest</c> that names one of them. A rank that cannot
/// write makes all ranks throw; none is left waiting.
/// </remarks>
internal static class CheckpointWriter
{
    private sealed record Outcome(string Tag, IReadOnlyList<CheckpointFile> Files, string? Error, bool IsPassing = false);

    public static string Save(string directory, string tag, ProcessGroup group, FlatParameters parameters,
        CheckpointState state, FlatOptimizer optimizer)
    {
        if (string.IsNullOrWhiteSpace(directory))
        {
            throw new ArgumentException("the folder for checkpoints has no name", nameof(directory));
        }

        if (tag.Length == 0 || tag.StartsWith('.') || tag.AsSpan().ContainsAny('/', '\\', '\n'))
        {
            throw new ArgumentException($"\"{tag}\" cannot be the name of a checkpoint; use a plain file name", nameof(tag));
        }

        string folder = Path.Combine(directory, tag);
        string temporary = Path.Combine(directory, $".{tag}.tmp");
        Agree(group, "making its folder", tag, () =>
        {
            if (group.Rank == 0)
            {
                Directory.CreateDirectory(directory);
                AttemptLease.Check(directory);
                // What processes that were killed have left; nobody else writes here.
                foreach (string left in Directory.GetDirectories(directory, ".*.tmp").Concat(Directory.GetDirectories(directory, "*.old")))
                {
                    Directory.Delete(left, recursive: true);
                }

                Directory.CreateDirectory(temporary);
            }

            return [];
        });

        IReadOnlyList<CheckpointFile> files = Agree(group, "writing its files", tag,
            () => WriteShards(temporary, group, parameters, optimizer));

        Agree(group, "completing it", tag, () =>
        {
            if (group.Rank == 0)
            {
                var manifest = new CheckpointManifest { Tag = tag, WorldSize = group.WorldSize, State = state, Files = files };
                DurableFiles.Replace(Path.Combine(temporary, CheckpointManifest.FileName), manifest.ToBytes());
                AttemptLease.Check(directory);
                DurableFiles.ReplaceFolder(temporary, folder);
                DurableFiles.Replace(Path.Combine(directory, CheckpointManifest.LatestFileName), Encoding.UTF8.GetBytes(tag));
            }

            return [];
        });
        return folder;
    }

    /// <summary>Writes the weights alone, as a Hugging Face model file.</summary>
    public static string SaveWeights(string directory, string fileName, ProcessGroup group, FlatParameters parameters)
    {
        string path = Path.Combine(directory, fileName);
        Agree(group, "writing the weights", fileName, () =>
        {
            using DisposeScope scope = NewDisposeScope();
            using IDisposable noGrad = no_grad();
            int collected = 0; // in stage 3, by all ranks in the order of the slots
            SafetensorsWriter.Entry[] entries = [.. parameters.Slots.Select(slot => new SafetensorsWriter.Entry(
                slot.Name, parameters.OwnWeights.dtype, slot.Shape, () =>
                {
                    collected++;
                    return parameters.WholeWeight(slot, group);
                }))];
            try
            {
                if (group.Rank != 0)
                {
                    return [];
                }

                Directory.CreateDirectory(directory);
                CheckpointFile file = SafetensorsWriter.Write(path + ".part",
                    [.. entries, .. parameters.Constants.Select(c => SafetensorsWriter.Entry.Of(c.Name, c.Tensor))]);
                File.Move(path + ".part", path, overwrite: true);
                return [file];
            }
            finally
            {
                while (parameters.Partitioned.Count > 0 && collected < entries.Length)
                {
                    entries[collected].Make().Dispose();
                }
            }
        });
        return path;
    }

    /// <summary>Writes this rank's files.</summary>
    /// <remarks>Rank 0 writes the model and the optimizer's state, parameter by parameter whatever the shards are, so the
    /// files are the same in every stage; each rank writes what is its own. Every rank must call this.</remarks>
    internal static IReadOnlyList<CheckpointFile> WriteShards(string folder, ProcessGroup group, FlatParameters parameters, FlatOptimizer optimizer)
    {
        using DisposeScope scope = NewDisposeScope();
        using IDisposable noGrad = no_grad();
        int collected = 0; // by all ranks in this order:
        SafetensorsWriter.Entry[] model = [.. Named(parameters.MasterState, "")];
        SafetensorsWriter.Entry[] state = [.. optimizer.States.SelectMany(s => Named(s.State, $"{s.Name}."))];
        var files = new List<CheckpointFile>();
        try
        {
            files.Add(SafetensorsWriter.Write(Path.Combine(folder, CheckpointManifest.RankFileName(group.Rank)),
                RandomState.Get(parameters.Device)));
            if (group.Rank == 0)
            {
                files.Add(SafetensorsWriter.Write(Path.Combine(folder, CheckpointManifest.ModelFileName),
                    [.. model, .. parameters.Constants.Select(c => SafetensorsWriter.Entry.Of(c.Name, c.Tensor))]));
                files.Add(SafetensorsWriter.Write(Path.Combine(folder, CheckpointManifest.OptimizerFileName), state));
            }
        }
        finally
        {
            // The other ranks' part, and rank 0's when its disk failed: nobody may be left waiting for a shard.
            while (parameters.Shards.WorldSize > 1 && collected < model.Length + state.Length)
            {
                (collected < model.Length ? model[collected] : state[collected - model.Length]).Make().Dispose();
            }
        }

        return files;

        IEnumerable<SafetensorsWriter.Entry> Named(IShardBuffer flat, string prefix) => parameters.Slots.Select(slot =>
            new SafetensorsWriter.Entry(prefix + slot.Name, float32, slot.Shape, () =>
            {
                collected++;
                return parameters.CollectState(flat, slot, group);
            }));
    }

    // Runs a part on every rank and shares how it went, so that one rank's full disk is everyone's exception.
    private static List<CheckpointFile> Agree(
        ProcessGroup group, string what, string tag, Func<IReadOnlyList<CheckpointFile>> part)
    {
        Outcome outcome;
        try
        {
            outcome = new Outcome(tag, part(), null);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or CheckpointException)
        {
            outcome = new Outcome(tag, [], e.Message, IsPassing: e is IOException);
        }

        Outcome[] all = [.. group.AllGather(JsonSerializer.Serialize(outcome), $"checkpoint {tag}: {what}")
            .Select(text => JsonSerializer.Deserialize<Outcome>(text)!)];
        for (int rank = 0; rank < all.Length; rank++)
        {
            if (all[rank].Error is { } error)
            {
                throw new CheckpointException($"checkpoint {tag} was not saved: {what} failed on rank {rank}: {error}")
                {
                    IsPassing = all[rank].IsPassing,
                };
            }

            if (all[rank].Tag != tag)
            {
                throw new CheckpointException($"checkpoint {tag} was not saved: rank {rank} calls it {all[rank].Tag}; "
                    + "give the same tag on every rank");
            }
        }

        return [.. all.SelectMany(o => o.Files)];
    }
}

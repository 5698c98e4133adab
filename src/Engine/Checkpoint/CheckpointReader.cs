using System.Security.Cryptography;
using System.Text.Json;
using DeepSpeedSharp.Engine.Comm;
using DeepSpeedSharp.Engine.Optim;
using DeepSpeedSharp.Engine.Zero;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine.Checkpoint;

/// <summary>Reads a checkpoint: rank 0 verifies and reads it, and hands everything to the other ranks.</summary>
internal static class CheckpointReader
{
    private sealed record Found(string? Folder, CheckpointManifest? Manifest, string? Error, bool IsPassing = false);

    /// <param name="directory">Folder of checkpoints.</param>
    /// <param name="tag">Name of one; null is the latest.</param>
    /// <param name="group">The ranks.</param>
    /// <param name="parameters">Gets the weights.</param>
    /// <param name="optimizer">Gets the state.</param>
    /// <param name="fromFp32">False starts masters from weights rounded to the model's type.</param>
    /// <returns>Folder and what is not tensors; null when there is no checkpoint.</returns>
    public static (string Path, CheckpointState State)? Load(string directory, string? tag, ProcessGroup group,
        FlatParameters parameters, FlatOptimizer optimizer, bool fromFp32)
    {
        Found found = FromRankZero(group, "looking for a checkpoint", () => Find(directory, tag));
        if (found.Folder is not { } folder)
        {
            return null;
        }

        string model = Path.Combine(folder, CheckpointManifest.ModelFileName);
        string state = Path.Combine(folder, CheckpointManifest.OptimizerFileName);
        FromRankZero(group, $"verifying checkpoint {folder}", () =>
        {
            Verify(folder, found.Manifest!);
            CheckOptimizer(folder, found.Manifest!.State, optimizer);
            using var reader = new SafetensorsReader(model);
            CheckNames(model, reader, "", parameters);
            CheckConstants(model, reader, parameters);
            using var states = new SafetensorsReader(state);
            foreach ((string name, _) in optimizer.States)
            {
                CheckNames(state, states, $"{name}.", parameters);
            }

            return found;
        });
        using (NewDisposeScope())
        using (no_grad())
        {
            using var reader = new SharedReader(model, group);
            foreach (ParameterSlot slot in parameters.Slots)
            {
                using Tensor value = reader.Read(slot.Name, slot.Shape, float32);
                using Tensor start = fromFp32 ? value.alias() : value.to(parameters.OwnWeights.dtype).to(float32);
                parameters.SetValue(slot, start);
            }

            foreach ((string name, Tensor constant) in parameters.Constants)
            {
                using Tensor value = reader.Read(name, constant.shape, constant.dtype);
                constant.copy_(value);
            }

            reader.End(folder);
            using var states = new SharedReader(state, group);
            foreach ((string name, IShardBuffer target) in optimizer.States)
            {
                foreach (ParameterSlot slot in parameters.Slots)
                {
                    using Tensor value = states.Read($"{name}.{slot.Name}", slot.Shape, float32);
                    parameters.SetState(target, slot, value);
                }
            }

            states.End(folder);
        }

        RestoreRandomState(folder, found.Manifest!, group, parameters);
        return (folder, found.Manifest!.State);
    }

    // Only rank 0 looks, so that all ranks take the same checkpoint even while the folder changes.
    private static Found FromRankZero(ProcessGroup group, string what, Func<Found> read)
    {
        Found mine = new(null, null, null);
        if (group.Rank == 0)
        {
            try
            {
                mine = read();
            }
            catch (Exception e) when (e is CheckpointException or IOException or UnauthorizedAccessException)
            {
                mine = new Found(null, null, e.Message, IsPassing: e is IOException);
            }
        }

        Found found = JsonSerializer.Deserialize<Found>(group.AllGather(JsonSerializer.Serialize(mine), what)[0])!;
        return found.Error is null ? found : throw new CheckpointException(found.Error) { IsPassing = found.IsPassing };
    }

    private static Found Find(string directory, string? tag)
    {
        string latest = Path.Combine(directory, CheckpointManifest.LatestFileName);
        if (tag is null && !File.Exists(latest))
        {
            return new Found(null, null, null);
        }

        string folder = Path.Combine(directory, tag ?? File.ReadAllText(latest).Trim());
        if (tag is null && !File.Exists(Path.Combine(folder, CheckpointManifest.FileName)))
        {
            // A crash between moving an old folder of the same tag aside and putting the new one in its place.
            folder = Directory.GetDirectories(directory).Where(d => File.Exists(Path.Combine(d, CheckpointManifest.FileName)))
                .OrderByDescending(d => CheckpointManifest.Read(d).State.GlobalSteps).FirstOrDefault() ?? folder;
        }

        return new Found(folder, CheckpointManifest.Read(folder), null);
    }

    private static void Verify(string folder, CheckpointManifest manifest)
    {
        foreach (CheckpointFile file in manifest.Files)
        {
            string path = Path.Combine(folder, file.Name);
            if (!File.Exists(path) || new FileInfo(path).Length != file.Bytes)
            {
                throw new CheckpointException($"checkpoint {folder} is damaged: {file.Name} is "
                    + (File.Exists(path) ? $"{new FileInfo(path).Length} bytes, not {file.Bytes}" : "missing")
                    + "; load another tag");
            }

            using FileStream stream = File.OpenRead(path);
            if (Convert.ToHexStringLower(SHA256.HashData(stream)) != file.Sha256)
            {
                throw new CheckpointException($"checkpoint {folder} is damaged: the content of {file.Name} does not have "
                    + "the checksum of the manifest; load another tag");
            }
        }
    }

    private static void CheckOptimizer(string folder, CheckpointState state, FlatOptimizer optimizer)
    {
        // Adam and AdamW have the same state.
        string saved = state.Optimizer ?? "Adam";
        if (Kind(saved) != Kind(optimizer.Name))
        {
            throw new CheckpointException($"checkpoint {folder} has the state of {saved}, this run trains with "
                + $"{optimizer.Name}; use the same optimizer, or start from its weights in a new folder of checkpoints");
        }

        static string Kind(string name) => name.Equals("AdamW", StringComparison.OrdinalIgnoreCase) ? "adam" : name.ToLowerInvariant();
    }

    private static void CheckNames(string path, SafetensorsReader reader, string prefix, FlatParameters parameters)
    {
        string[] problems = [.. parameters.Slots.Where(s => !reader.Names.Contains(prefix + s.Name)).Select(s => $"{s.Name} is missing"),
            .. parameters.Slots.Where(s => reader.Names.Contains(prefix + s.Name) && !reader.ShapeOf(prefix + s.Name).SequenceEqual(s.Shape))
                .Select(s => $"{s.Name} is [{string.Join(", ", reader.ShapeOf(prefix + s.Name))}], the model has [{string.Join(", ", s.Shape)}]"),
            .. prefix.Length > 0 ? [] : reader.Names.Except(parameters.Slots.Select(s => s.Name))
                .Except(parameters.Constants.Select(c => c.Name)).Select(n => $"{n} is not in the model")];
        if (problems.Length > 0)
        {
            throw new CheckpointException($"{path} belongs to another model: {string.Join("; ", problems.Take(5))}"
                + (problems.Length > 5 ? $"; and {problems.Length - 5} more" : ""));
        }
    }

    // Frozen parameters and buffers, such as the running statistics of a batch normalization.
    private static void CheckConstants(string path, SafetensorsReader reader, FlatParameters parameters)
    {
        foreach ((string name, Tensor constant) in parameters.Constants)
        {
            if (!reader.Names.Contains(name) || !reader.ShapeOf(name).SequenceEqual(constant.shape))
            {
                throw new CheckpointException($"{path} belongs to another model: {name} is missing or has another shape");
            }
        }
    }

    // With another number of ranks there is nothing to restore: each rank keeps its freshly seeded numbers.
    private static void RestoreRandomState(
        string folder, CheckpointManifest manifest, ProcessGroup group, FlatParameters parameters)
    {
        string path = Path.Combine(folder, CheckpointManifest.RankFileName(group.Rank));
        if (manifest.WorldSize == group.WorldSize && File.Exists(path))
        {
            using var reader = new SafetensorsReader(path);
            RandomState.Set(reader, parameters.Device);
        }
    }
}

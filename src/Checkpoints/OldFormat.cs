namespace DeepSpeedSharp.Checkpoints;

/// <summary>Format 1: whole tensors in two files that rank 0 wrote, and a file of random state for each rank.</summary>
/// <remarks>Its manifest names files only; the tensors are in their headers.</remarks>
internal static class OldFormat
{
    private const string ModelFile = "model.safetensors";
    private const string OptimizerFile = "optimizer.safetensors";

    /// <summary>Adds the tensors to a manifest.</summary>
    /// <exception cref="CheckpointException">A file is missing or damaged.</exception>
    public static CheckpointManifest Complete(string folder, CheckpointManifest manifest) => manifest with
    {
        Tensors = [.. manifest.Files.SelectMany(file => Tensors(folder, file.Name))],
    };

    private static List<TensorRecord> Tensors(string folder, string name)
    {
        using var file = new SafetensorsFile(Path.Combine(folder, name));
        return [.. file.Entries.Select(entry =>
        {
            (string? state, string tensor) = name switch
            {
                ModelFile => (null, entry.Name),
                // No state of an optimizer has a dot in its name.
                OptimizerFile => (entry.Name[..entry.Name.IndexOf('.', StringComparison.Ordinal)], entry.Name[(entry.Name.IndexOf('.', StringComparison.Ordinal) + 1)..]),
                _ => (entry.Name, Path.GetFileNameWithoutExtension(name)), // random.cpu of rank_00000
            };
            return new TensorRecord(tensor, entry.Type, entry.Shape, [new PieceRecord(name, 0, ElementTypes.Elements(entry.Shape))], state);
        })];
    }

    /// <summary>Name of a tensor in a file of format 1: always the whole.</summary>
    public static string EntryName(TensorRecord tensor, string file) =>
        file is ModelFile or OptimizerFile ? tensor.FullName : tensor.State!;
}

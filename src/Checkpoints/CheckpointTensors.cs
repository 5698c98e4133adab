using System.Collections.Concurrent;

namespace DeepSpeedSharp.Checkpoints;

/// <summary>Reads ranges of the tensors of a checkpoint, from whatever files have them.</summary>
/// <remarks>Nothing is kept: a caller reads into memory of its own. Checksums are checked before, by
/// <see cref="CheckpointVerification"/>.</remarks>
internal sealed class CheckpointTensors(string folder, CheckpointManifest manifest) : IDisposable
{
    private readonly ConcurrentDictionary<string, SafetensorsFile> _files = [];

    /// <summary>What the checkpoint has.</summary>
    public CheckpointManifest Manifest => manifest;

    /// <summary>The bytes of a piece in its file.</summary>
    /// <exception cref="CheckpointException">The file does not have it as the manifest says.</exception>
    public (SafetensorsFile File, SafetensorsEntry Entry) Open(TensorRecord tensor, PieceRecord piece)
    {
        SafetensorsFile file = _files.GetOrAdd(piece.File, name => new SafetensorsFile(Path.Combine(folder, name)));
        string name = manifest.Format == 1 ? OldFormat.EntryName(tensor, piece.File)
            : TensorRecord.EntryName(tensor.State, tensor.Name, piece.Start, piece.Length, tensor.Elements);
        return file.Find(name) is { } entry && entry.Type == tensor.Type && entry.Bytes == piece.Length * ElementTypes.SizeOf(tensor.Type)
            ? (file, entry)
            : throw new CheckpointException($"checkpoint {folder} is damaged: {piece.File} has not the {name} that the manifest describes; "
                + "load another tag")
            { IsDamage = true };
    }

    /// <summary>Reads elements of a tensor.</summary>
    /// <param name="tensor">One of the manifest's.</param>
    /// <param name="start">First element, counted in the whole tensor.</param>
    /// <param name="destination">Is filled; its length says how many elements.</param>
    /// <exception cref="CheckpointException">A file cannot be read.</exception>
    public void Read(TensorRecord tensor, long start, Span<byte> destination)
    {
        int size = ElementTypes.SizeOf(tensor.Type);
        long end = start + destination.Length / size;
        foreach (PieceRecord piece in tensor.Pieces)
        {
            long from = Math.Max(start, piece.Start);
            long to = Math.Min(end, piece.Start + piece.Length);
            if (from < to)
            {
                (SafetensorsFile file, SafetensorsEntry entry) = Open(tensor, piece);
                file.Read(entry, (from - piece.Start) * size, destination.Slice((int)((from - start) * size), (int)((to - from) * size)));
            }
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (SafetensorsFile file in _files.Values)
        {
            file.Dispose();
        }
    }
}

using System.Buffers;
using System.IO.Hashing;
using System.Security.Cryptography;

namespace DeepSpeedSharp.Checkpoints;

/// <summary>Whether the files of a checkpoint are what was written: every byte of them is under a checksum.</summary>
internal static class CheckpointVerification
{
    private const int BufferBytes = 4 << 20;

    /// <summary>Verifies files.</summary>
    /// <param name="folder">Folder of the checkpoint.</param>
    /// <param name="manifest">Its manifest.</param>
    /// <param name="files">Which files; all of the manifest's, or some.</param>
    /// <param name="threads">How many read at once.</param>
    /// <returns>One problem for each damaged file, with its name; empty when all are whole.</returns>
    public static IReadOnlyList<string> Problems(string folder, CheckpointManifest manifest, IEnumerable<FileRecord> files, int threads)
    {
        using var tensors = new CheckpointTensors(folder, manifest);
        ILookup<string, (TensorRecord, PieceRecord)> pieces = manifest.Tensors
            .SelectMany(tensor => tensor.Pieces.Select(piece => (tensor, piece))).ToLookup(pair => pair.piece.File);
        return [.. files.Select(file => (file.Name, Problem: Problem(folder, file, tensors, [.. pieces[file.Name]], threads)))
            .Where(found => found.Problem is not null).Select(found => $"{found.Name} {found.Problem}")];
    }

    private static string? Problem(
        string folder, FileRecord file, CheckpointTensors tensors, IReadOnlyList<(TensorRecord Tensor, PieceRecord Piece)> pieces, int threads)
    {
        string path = Path.Combine(folder, file.Name);
        try
        {
            if (!File.Exists(path))
            {
                return "is missing";
            }

            if (new FileInfo(path).Length is var bytes && bytes != file.Bytes)
            {
                return $"is {bytes} bytes, not {file.Bytes}";
            }

            if (file.Sha256 is { } sha)
            {
                using FileStream stream = File.OpenRead(path);
                return Convert.ToHexStringLower(SHA256.HashData(stream)) == sha ? null : "has not the content that its checksum says";
            }

            return pieces.Count == 0 && file.Header is null ? "has no checksum" : HeaderProblem(path, file) ?? PieceProblem(tensors, pieces, threads);
        }
        catch (CheckpointException e)
        {
            return $"cannot be read: {e.Message}";
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return $"cannot be read: {e.Message}";
        }
    }

    private static string? HeaderProblem(string path, FileRecord file)
    {
        using var opened = new SafetensorsFile(path);
        return Checksum.Of(opened.Header) == file.Header ? null : "has not the header that its checksum says";
    }

    private static string? PieceProblem(CheckpointTensors tensors, IReadOnlyList<(TensorRecord Tensor, PieceRecord Piece)> pieces, int threads)
    {
        string? problem = null;
        Parallel.ForEach(pieces, new ParallelOptions { MaxDegreeOfParallelism = threads }, (pair, state) =>
        {
            try
            {
                (SafetensorsFile file, SafetensorsEntry entry) = tensors.Open(pair.Tensor, pair.Piece);
                if (ChecksumOf(file, entry) != pair.Piece.Checksum)
                {
                    problem = $"has not the {entry.Name} that its checksum says";
                }
            }
            catch (CheckpointException e)
            {
                problem = $"cannot be read: {e.Message}";
            }

            if (problem is not null)
            {
                state.Stop();
            }
        });
        return problem;
    }

    private static string ChecksumOf(SafetensorsFile file, SafetensorsEntry entry)
    {
        byte[] buffer = ArrayPool<byte>.Shared.Rent(BufferBytes);
        try
        {
            var hash = new XxHash128();
            for (long start = 0; start < entry.Bytes; start += BufferBytes)
            {
                Span<byte> part = buffer.AsSpan(0, (int)Math.Min(BufferBytes, entry.Bytes - start));
                file.Read(entry, start, part);
                hash.Append(part);
            }

            return Checksum.Text(hash.GetHashAndReset());
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(buffer);
        }
    }
}

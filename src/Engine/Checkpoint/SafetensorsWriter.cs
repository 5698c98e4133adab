using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using DeepSpeedSharp.Engine.Native;
using TorchSharp;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine.Checkpoint;

/// <summary>Writes tensors in the safetensors format: header length, JSON header, data.</summary>
/// <remarks>The data goes from tensor memory to the file in pieces; nothing is held twice.</remarks>
internal static class SafetensorsWriter
{
    private const long LargestPiece = 1 << 24;

    /// <summary>A tensor that is made when its turn comes.</summary>
    /// <param name="Name">Its name in the file.</param>
    /// <param name="Type">Its element type.</param>
    /// <param name="Shape">Its shape.</param>
    /// <param name="Make">Makes it, contiguous; the writer disposes it.</param>
    public sealed record Entry(string Name, ScalarType Type, IReadOnlyList<long> Shape, Func<Tensor> Make)
    {
        /// <summary>A tensor that is there.</summary>
        public static Entry Of(string name, Tensor tensor) => new(name, tensor.dtype, tensor.shape, () => tensor.alias());
    }

    /// <summary>Writes a file and puts it on disk.</summary>
    /// <param name="path">The file; overwritten.</param>
    /// <param name="tensors">Names and tensors, contiguous.</param>
    /// <returns>Its size and SHA-256.</returns>
    public static CheckpointFile Write(string path, IReadOnlyList<(string Name, Tensor Tensor)> tensors) =>
        Write(path, [.. tensors.Select(t => Entry.Of(t.Name, t.Tensor))]);

    /// <summary>Writes a file and puts it on disk; one tensor at a time exists for it.</summary>
    /// <param name="path">The file; overwritten.</param>
    /// <param name="tensors">The tensors.</param>
    /// <returns>Its size and SHA-256.</returns>
    public static CheckpointFile Write(string path, IReadOnlyList<Entry> tensors)
    {
        byte[] header = Header(tensors);
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        using var file = new FileStream(path, FileMode.Create, FileAccess.Write, FileShare.None, bufferSize: 1 << 20);
        Append(header);
        foreach (Entry entry in tensors)
        {
            using DisposeScope scope = NewDisposeScope();
            using Tensor tensor = entry.Make();
            Tensor flat = tensor.detach().cpu().view(tensor.numel());
            for (long start = 0; start < flat.numel(); start += LargestPiece)
            {
                Append(TensorMemory.Bytes(flat.narrow(0, start, Math.Min(LargestPiece, flat.numel() - start))).Span);
            }
        }

        file.Flush(flushToDisk: true);
        return new CheckpointFile(Path.GetFileName(path), file.Length, Convert.ToHexStringLower(hash.GetHashAndReset()));

        void Append(ReadOnlySpan<byte> bytes)
        {
            hash.AppendData(bytes);
            file.Write(bytes);
        }
    }

    private static byte[] Header(IReadOnlyList<Entry> tensors)
    {
        var entries = new JsonObject { ["__metadata__"] = new JsonObject { ["format"] = "pt" } };
        long offset = 0;
        foreach (Entry entry in tensors)
        {
            long end = offset + entry.Shape.Aggregate(1L, (product, d) => product * d) * SafetensorsReader.SizeOf(entry.Type);
            entries[entry.Name] = new JsonObject
            {
                ["dtype"] = SafetensorsReader.NameOf(entry.Type),
                ["shape"] = new JsonArray([.. entry.Shape.Select(d => JsonValue.Create(d))]),
                ["data_offsets"] = new JsonArray(offset, end),
            };
            offset = end;
        }

        string json = entries.ToJsonString(new JsonSerializerOptions { WriteIndented = false });
        int length = Encoding.UTF8.GetByteCount(json);
        int padded = (length + 8 + 63) / 64 * 64 - 8; // data begins at a multiple of 64, for mapped reads
        return [.. BitConverter.GetBytes((ulong)padded), .. Encoding.UTF8.GetBytes(json), .. Enumerable.Repeat((byte)' ', padded - length)];
    }
}

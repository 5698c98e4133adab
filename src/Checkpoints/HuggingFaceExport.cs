using System.Text.Json;
using System.Text.Json.Nodes;

namespace DeepSpeedSharp.Checkpoints;

/// <summary>What an export wrote.</summary>
/// <param name="Files">Files with weights.</param>
/// <param name="Copied">Config and tokenizer files.</param>
/// <param name="Tensors">How many tensors.</param>
/// <param name="Bytes">Bytes of their values.</param>
/// <param name="BeyondRange">Finite values that became infinite, as the chosen type cannot hold them.</param>
internal sealed record HuggingFaceFiles(IReadOnlyList<string> Files, IReadOnlyList<string> Copied, int Tensors, long Bytes, long BeyondRange);

/// <summary>Writes the parameters and buffers of a checkpoint as a Hugging Face folder.</summary>
/// <remarks>They stream from the ranks' files into the new ones through two small buffers: however large the model is,
/// memory is not.</remarks>
internal static class HuggingFaceExport
{
    public const string ConfigFile = "config.json";

    /// <summary>Files of tokenizers and generation, by the names that Hugging Face's programs look for.</summary>
    public static readonly IReadOnlyList<string> TokenizerFiles =
    [
        "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json", "merges.txt",
        "vocab.txt", "tokenizer.model", "spiece.model", "generation_config.json",
    ];

    private const string SingleFile = "model.safetensors";
    private const string IndexFile = "model.safetensors.index.json";
    private const int BufferBytes = 4 << 20;

    private static readonly JsonSerializerOptions Readable = new() { WriteIndented = true };

    /// <summary>Writes the folder.</summary>
    /// <param name="folder">The checkpoint; verified already.</param>
    /// <param name="manifest">Its manifest.</param>
    /// <param name="output">Where to; created when missing, and without weights before.</param>
    /// <param name="type">F32, F16 or BF16: the element type of what has a fraction.</param>
    /// <param name="largestFileBytes">Bytes of values in one file; a larger tensor has a file of its own.</param>
    /// <exception cref="CheckpointException">The folder has weights already, or a file cannot be read.</exception>
    public static HuggingFaceFiles Write(string folder, CheckpointManifest manifest, string output, string type, long largestFileBytes)
    {
        Directory.CreateDirectory(output);
        if (Directory.GetFiles(output, "model*.safetensors*") is [var there, ..])
        {
            throw new CheckpointException($"{output} has weights already: {Path.GetFileName(there)}; choose another folder, or delete them");
        }

        TensorRecord[] tensors = [.. manifest.Model.OrderBy(t => t.Name, StringComparer.Ordinal)];
        IReadOnlyList<IReadOnlyList<TensorRecord>> shards = Split(tensors, type, largestFileBytes);
        using var source = new CheckpointTensors(folder, manifest);
        var names = new List<string>();
        var places = new JsonObject();
        long beyond = 0;
        for (int i = 0; i < shards.Count; i++)
        {
            names.Add(shards.Count == 1 ? SingleFile : $"model-{i + 1:00000}-of-{shards.Count:00000}.safetensors");
            string path = Path.Combine(output, names[i]);
            beyond += WriteFile(path + ".part", source, shards[i], type);
            File.Move(path + ".part", path);
            foreach (TensorRecord tensor in shards[i])
            {
                places[tensor.Name] = names[i];
            }
        }

        long bytes = tensors.Sum(t => Bytes(t, type));
        if (shards.Count > 1)
        {
            var index = new JsonObject { ["metadata"] = new JsonObject { ["total_size"] = bytes }, ["weight_map"] = places };
            DurableFiles.Replace(Path.Combine(output, IndexFile), JsonSerializer.SerializeToUtf8Bytes(index, Readable));
        }

        IReadOnlyList<string> copied = CopyModelFiles(folder, output, type);
        DurableFiles.SyncFolder(output);
        return new HuggingFaceFiles(names, copied, tensors.Length, bytes, beyond);
    }

    /// <summary>Deals tensors to files, in their order; none is cut.</summary>
    public static IReadOnlyList<IReadOnlyList<TensorRecord>> Split(IReadOnlyList<TensorRecord> tensors, string type, long largestFileBytes)
    {
        var shards = new List<List<TensorRecord>> { new() };
        long size = 0;
        foreach (TensorRecord tensor in tensors)
        {
            long bytes = Bytes(tensor, type);
            if (shards[^1].Count > 0 && size + bytes > largestFileBytes)
            {
                shards.Add([]);
                size = 0;
            }

            shards[^1].Add(tensor);
            size += bytes;
        }

        return shards;
    }

    private static string TypeOf(TensorRecord tensor, string type) => ElementTypes.IsFloating(tensor.Type) ? type : tensor.Type;

    private static long Bytes(TensorRecord tensor, string type) => tensor.Elements * ElementTypes.SizeOf(TypeOf(tensor, type));

    private static long WriteFile(string path, CheckpointTensors source, IReadOnlyList<TensorRecord> tensors, string type)
    {
        using var file = new SafetensorsFileWriter(path, [.. tensors.Select(t => (t.Name, TypeOf(t, type), t.Shape))]);
        var read = new byte[BufferBytes];
        byte[][] written = [new byte[2 * BufferBytes], new byte[2 * BufferBytes]]; // one fills while the other goes to the disk
        int turn = 0;
        long beyond = 0;
        foreach (TensorRecord tensor in tensors)
        {
            int size = ElementTypes.SizeOf(tensor.Type);
            long step = BufferBytes / size;
            for (long start = 0; start < tensor.Elements; start += step)
            {
                int elements = (int)Math.Min(step, tensor.Elements - start);
                Span<byte> values = read.AsSpan(0, elements * size);
                source.Read(tensor, start, values);
                byte[] target = written[turn ^= 1];
                int bytes = elements * ElementTypes.SizeOf(TypeOf(tensor, type));
                beyond += FloatConversion.Convert(tensor.Type, values, TypeOf(tensor, type), target.AsSpan(0, bytes));
                file.Append(target.AsMemory(0, bytes));
            }

            _ = file.EndTensor();
        }

        _ = file.Complete();
        return beyond;
    }

    // The checkpoint's own folder first, then that of all checkpoints.
    private static List<string> CopyModelFiles(string folder, string output, string type)
    {
        string[] places = [folder, Path.GetDirectoryName(Path.GetFullPath(folder))!];
        var copied = new List<string>();
        foreach (string name in (string[])[ConfigFile, .. TokenizerFiles])
        {
            if (places.Select(place => Path.Combine(place, name)).FirstOrDefault(File.Exists) is { } path)
            {
                byte[] content = File.ReadAllBytes(path);
                DurableFiles.Replace(Path.Combine(output, name), name == ConfigFile ? WithType(content, type) : content);
                copied.Add(name);
            }
        }

        return copied;
    }

    // Hugging Face's programs compute in the type that the config names.
    private static byte[] WithType(byte[] config, string type)
    {
        try
        {
            JsonObject json = JsonNode.Parse(config)!.AsObject();
            json["torch_dtype"] = type switch { "F16" => "float16", "BF16" => "bfloat16", _ => "float32" };
            return JsonSerializer.SerializeToUtf8Bytes(json, Readable);
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException)
        {
            return config; // not one that we know; it is the user's
        }
    }
}

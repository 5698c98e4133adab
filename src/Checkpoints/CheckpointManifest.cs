using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.Json.Serialization;

namespace DeepSpeedSharp.Checkpoints;

/// <summary>One file of a checkpoint.</summary>
/// <param name="Name">Its name in the checkpoint's folder.</param>
/// <param name="Bytes">Its length.</param>
internal sealed record FileRecord(string Name, long Bytes)
{
    /// <summary>Checksum of what is before the data; tensors have their own. Null in format 1.</summary>
    public string? Header { get; init; }

    /// <summary>SHA-256 of the whole file, in format 1.</summary>
    public string? Sha256 { get; init; }
}

/// <summary>A part of a tensor and the file that has it.</summary>
/// <param name="File">Name of the file.</param>
/// <param name="Start">First element, counted in the tensor.</param>
/// <param name="Length">Elements, at least 1 unless the tensor has none.</param>
/// <param name="Checksum">Of its bytes; null in format 1.</param>
internal sealed record PieceRecord(string File, long Start, long Length, string? Checksum = null);

/// <summary>A tensor of the training state, whole, whoever has written which part of it.</summary>
/// <param name="Name">Name of the parameter or buffer in the model; of the rank for what is its own.</param>
/// <param name="Type">Element type, by safetensors' name.</param>
/// <param name="Shape">Shape of the whole tensor.</param>
/// <param name="Pieces">The parts, one after the other.</param>
/// <param name="State">Null for the value itself, else the optimizer's name for a state of it, such as exp_avg.</param>
internal sealed record TensorRecord(string Name, string Type, IReadOnlyList<long> Shape, IReadOnlyList<PieceRecord> Pieces, string? State = null)
{
    /// <summary>What a tensor is called in files: <c>exp_avg.weight</c>, or with a range when it is a part,
    /// <c>exp_avg.weight[0:128]</c>.</summary>
    public static string EntryName(string? state, string name, long start, long length, long elements) =>
        (state is null ? name : $"{state}.{name}") + (start == 0 && length == elements ? "" : $"[{start}:{start + length}]");

    /// <summary>Elements of the whole tensor.</summary>
    [JsonIgnore]
    public long Elements => ElementTypes.Elements(Shape);

    /// <summary>For messages.</summary>
    [JsonIgnore]
    public string FullName => EntryName(State, Name, 0, Elements, Elements);
}

/// <summary><c>manifest.json</c>: written last, so a folder without one is not a checkpoint.</summary>
internal sealed record CheckpointManifest
{
    public const string FileName = "manifest.json";
    public const int CurrentFormat = 2;

    private const string NoChecksum = "00000000000000000000000000000000";
    private static readonly int SealLength = Seal(NoChecksum).Length;

    public int Format { get; init; } = CurrentFormat;

    public required string Tag { get; init; }

    public required int WorldSize { get; init; }

    /// <summary>ZeRO stage that wrote it; any other loads it too.</summary>
    public int ZeroStage { get; init; }

    /// <summary>What is not tensors; the engine knows its parts.</summary>
    public required JsonObject State { get; init; }

    public required IReadOnlyList<FileRecord> Files { get; init; }

    public IReadOnlyList<TensorRecord> Tensors { get; init; } = [];

    /// <summary>Of the manifest itself; null in format 1.</summary>
    [JsonPropertyOrder(int.MaxValue)]
    public string? Checksum { get; init; }

    /// <summary>Optimizer steps when it was saved.</summary>
    [JsonIgnore]
    public long GlobalSteps => State["global_steps"] is JsonValue steps && steps.TryGetValue(out long value) ? value : 0;

    /// <summary>The model's parameters and buffers.</summary>
    [JsonIgnore]
    public IEnumerable<TensorRecord> Model => Tensors.Where(t => t.State is null);

    /// <summary>Reads the manifest of a checkpoint, of this format or an older one.</summary>
    /// <param name="folder">Folder of the checkpoint.</param>
    /// <exception cref="CheckpointException">There is none, it is damaged, or of a newer format.</exception>
    public static CheckpointManifest Read(string folder) => Parse(folder, ReadText(folder));

    /// <summary>Reads the text of a manifest.</summary>
    /// <exception cref="CheckpointException">There is none, or it cannot be read.</exception>
    public static string ReadText(string folder)
    {
        string path = Path.Combine(folder, FileName);
        try
        {
            return File.ReadAllText(path);
        }
        catch (Exception e) when (e is FileNotFoundException or DirectoryNotFoundException or UnauthorizedAccessException)
        {
            throw new CheckpointException($"checkpoint {folder} has no readable {FileName}: {e.Message.TrimEnd('.')}; "
                + (e is UnauthorizedAccessException ? "correct its permissions" : "it was not written completely, load another tag"), e)
            { IsDamage = true };
        }
        catch (IOException e)
        {
            throw new CheckpointException($"{path} cannot be read: {e.Message}", e) { IsPassing = true };
        }
    }

    /// <summary>Reads a manifest's text; for format 1, also the headers of the files it names.</summary>
    /// <param name="folder">Folder of the checkpoint.</param>
    /// <param name="text">The text of its manifest.</param>
    /// <exception cref="CheckpointException">It is damaged, or of a newer format.</exception>
    public static CheckpointManifest Parse(string folder, string text)
    {
        try
        {
            if (IsSealed(text))
            {
                ThrowIfChanged(text); // first: the format itself may be what changed
            }

            int format = JsonNode.Parse(text)?["format"]?.GetValue<int>() ?? throw new JsonException("it has no format");
            if (format is < 1 or > CurrentFormat)
            {
                throw new CheckpointException($"checkpoint {folder} has format {format}, this release reads 1 to {CurrentFormat}; "
                    + "use a newer release, or save it again with the old one");
            }

            if (format == CurrentFormat)
            {
                ThrowIfChanged(text);
            }

            CheckpointManifest manifest = JsonSerializer.Deserialize<CheckpointManifest>(text, Json)!;
            manifest = format == 1 ? OldFormat.Complete(folder, manifest) : manifest;
            manifest.ThrowIfIncomplete(folder);
            return manifest;
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException or OverflowException)
        {
            throw new CheckpointException($"checkpoint {folder} is damaged: {FileName}: {e.Message}; load another tag", e) { IsDamage = true };
        }
    }

    /// <summary>Puts together what the ranks have written.</summary>
    /// <param name="parts">Tensors of each rank, with the pieces that it wrote.</param>
    /// <returns>Whole tensors, in the order in which they first appear.</returns>
    public static IReadOnlyList<TensorRecord> Merge(IEnumerable<IReadOnlyList<TensorRecord>> parts) =>
        [.. parts.SelectMany(part => part).GroupBy(t => (t.State, t.Name)).Select(group => group.First() with
        {
            Pieces = [.. group.SelectMany(t => t.Pieces).OrderBy(piece => piece.Start)],
        })];

    /// <summary>Makes sure that the pieces of every tensor make up the whole.</summary>
    /// <exception cref="CheckpointException">Elements of a tensor are nowhere, or twice.</exception>
    public void ThrowIfIncomplete(string folder)
    {
        var files = Files.Select(file => file.Name).ToHashSet();
        foreach (TensorRecord tensor in Tensors)
        {
            long end = 0;
            foreach (PieceRecord piece in tensor.Pieces)
            {
                if (piece.Start != end || piece.Length < 0 || !files.Contains(piece.File))
                {
                    break;
                }

                end += piece.Length;
            }

            if (end != tensor.Elements || tensor.Pieces.Count == 0)
            {
                throw new CheckpointException($"checkpoint {folder} is damaged: {FileName}: of {tensor.FullName}, elements from {end} on "
                    + "are in no file, or in two; load another tag")
                { IsDamage = true };
            }
        }
    }

    /// <summary>The file's content; its last property is a checksum of all the others.</summary>
    public byte[] ToBytes()
    {
        string text = JsonSerializer.Serialize(this with { Checksum = NoChecksum }, Json);
        return Encoding.UTF8.GetBytes(text[..^SealLength] + Seal(Checkpoints.Checksum.Of(Encoding.UTF8.GetBytes(text))));
    }

    private static string Seal(string checksum) => $"\"checksum\": \"{checksum}\"\n}}";

    private static bool IsSealed(string text) => text.Length >= SealLength
        && text.AsSpan(text.Length - SealLength).StartsWith("\"checksum\": \"", StringComparison.Ordinal);

    private static void ThrowIfChanged(string text)
    {
        if (!IsSealed(text)
            || Seal(Checkpoints.Checksum.Of(Encoding.UTF8.GetBytes(text[..^SealLength] + Seal(NoChecksum)))) != text[^SealLength..])
        {
            throw new JsonException("it is not what was written: its checksum is another");
        }
    }

    /// <summary>How everything in a checkpoint is spelled.</summary>
    internal static readonly JsonSerializerOptions Json = new()
    {
        PropertyNamingPolicy = JsonNamingPolicy.SnakeCaseLower,
        DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull,
        RespectRequiredConstructorParameters = true,
        RespectNullableAnnotations = true,
        WriteIndented = true,
        NewLine = "\n",
    };
}

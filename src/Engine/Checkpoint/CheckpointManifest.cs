using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.Json.Serialization;
using DeepSpeedSharp.Engine.Data;
using DeepSpeedSharp.Engine.Precision;

namespace DeepSpeedSharp.Engine.Checkpoint;

/// <summary>A checkpoint cannot be written or read; the message says which and why.</summary>
public sealed class CheckpointException(string message, Exception? inner = null) : Exception(message, inner)
{
    /// <summary>Whether the file system was at fault, so that trying again may help.</summary>
    public bool IsPassing { get; init; }
}

/// <summary>The part of a checkpoint that is not tensors.</summary>
internal sealed record CheckpointState
{
    public long GlobalSteps { get; init; }

    public long GlobalSamples { get; init; }

    public long SkippedSteps { get; init; }

    /// <summary>Name of the optimizer; null in checkpoints of releases that had only Adam.</summary>
    public string? Optimizer { get; init; }

    public long OptimizerSteps { get; init; }

    public long? ScheduleIteration { get; init; }

    /// <summary>Where the data loader stands; null when the engine knows of none.</summary>
    public DataPlace? Data { get; init; }

    /// <summary>State of the fp16 loss scale; null in other precisions.</summary>
    public LossScalerState? LossScaler { get; init; }

    /// <summary>The caller's own state, returned exactly as it was given.</summary>
    public JsonObject? ClientState { get; init; }
}

/// <summary>One file of a checkpoint.</summary>
internal sealed record CheckpointFile(string Name, long Bytes, string Sha256);

/// <summary><c>manifest.json</c>: written last, so a folder without one is not a checkpoint.</summary>
internal sealed record CheckpointManifest
{
    public const string FileName = "manifest.json";
    public const string LatestFileName = "latest";
    public const string ModelFileName = "model.safetensors";
    public const string OptimizerFileName = "optimizer.safetensors";

    public int Format { get; init; } = 1;

    public required string Tag { get; init; }

    public required int WorldSize { get; init; }

    public required CheckpointState State { get; init; }

    public required IReadOnlyList<CheckpointFile> Files { get; init; }

    /// <summary>File of a rank's own state: its random number generator.</summary>
    public static string RankFileName(int rank) => $"rank_{rank:00000}.safetensors";

    public static CheckpointManifest Read(string folder)
    {
        string path = Path.Combine(folder, FileName);
        try
        {
            CheckpointManifest manifest = JsonSerializer.Deserialize<CheckpointManifest>(File.ReadAllText(path), Json)
                ?? throw new JsonException("it is empty");
            return manifest.Format == 1 ? manifest : throw new CheckpointException(
                $"checkpoint {folder} has format {manifest.Format}, this release reads 1; use a newer release");
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or JsonException)
        {
            throw new CheckpointException($"checkpoint {folder} has no readable {FileName}: {e.Message}; it was not "
                + "written completely, load another tag", e);
        }
    }

    public byte[] ToBytes() => JsonSerializer.SerializeToUtf8Bytes(this, Json);

    private static readonly JsonSerializerOptions Json = new()
    {
        PropertyNamingPolicy = JsonNamingPolicy.SnakeCaseLower,
        DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull,
        WriteIndented = true,
    };
}

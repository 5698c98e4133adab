using System.Text.Json;
using System.Text.Json.Nodes;
using DeepSpeedSharp.Engine.Data;
using DeepSpeedSharp.Engine.Precision;

namespace DeepSpeedSharp.Engine.Checkpoint;

/// <summary>The part of a checkpoint that is not tensors: <c>state</c> in its manifest.</summary>
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

    public JsonObject ToJson() => JsonSerializer.SerializeToNode(this, CheckpointManifest.Json)!.AsObject();

    public static CheckpointState From(string folder, JsonObject json)
    {
        try
        {
            return json.Deserialize<CheckpointState>(CheckpointManifest.Json)!;
        }
        catch (JsonException e)
        {
            throw new CheckpointException($"checkpoint {folder} is damaged: {CheckpointManifest.FileName}: state: {e.Message}; load another tag", e)
            {
                IsDamage = true,
            };
        }
    }
}

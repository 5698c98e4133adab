using System.Text.Json;
using System.Text.Json.Nodes;

namespace DeepSpeedSharp.Config;

/// <summary>A config as DeepSpeed JSON, with every default and derived value.</summary>
internal static class ResolvedConfig
{
    public static JsonObject ToJson(DeepSpeedConfig config, BatchPlan batch)
    {
        var resolved = new JsonObject
        {
            ["train_batch_size"] = batch.TrainBatchSize,
            ["train_micro_batch_size_per_gpu"] = batch.MicroBatchSize,
            ["gradient_accumulation_steps"] = batch.GradientAccumulationSteps,
        };
        Add(resolved, config);

        // Three records for the reader's sake; one section in the file.
        JsonObject zero = resolved["zero_optimization"]!.AsObject();
        Add(zero, config.Zero.Stage3);
        Add(zero, config.Zero.PlusPlus);
        return resolved;
    }

    private static void Add<T>(JsonObject target, T record)
    {
        foreach ((string key, JsonNode? value) in JsonSerializer.SerializeToNode(record)!.AsObject().ToArray())
        {
            target[key] = value?.DeepClone();
        }
    }
}

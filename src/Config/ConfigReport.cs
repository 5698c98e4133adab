using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace DeepSpeedSharp.Config;

/// <summary>What <c>deepspeed config check</c> finds: the resolved config, or every problem.</summary>
/// <param name="Config">The config, when it is valid.</param>
/// <param name="Batch">The three batch numbers, when they fit the world size.</param>
/// <param name="Errors">All problems; empty when the config is valid.</param>
public sealed record ConfigReport(DeepSpeedConfig? Config, BatchPlan? Batch, IReadOnlyList<ConfigError> Errors)
{
    private static readonly JsonSerializerOptions Indented =
        new() { WriteIndented = true, Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    /// <summary>Whether the config can be trained with.</summary>
    public bool IsValid => Errors.Count == 0;

    /// <summary>Checks a config for a world size.</summary>
    /// <param name="json">The JSON text.</param>
    /// <param name="worldSize">Data-parallel ranks, at least 1.</param>
    /// <returns>The report; never throws for a bad config.</returns>
    public static ConfigReport For(string json, int worldSize)
    {
        var errors = new ConfigErrors();
        DeepSpeedConfig config = DeepSpeedConfig.Read(json, errors);

        // A batch number that could not be read would only produce a misleading second error.
        bool batchIsReadable = !errors.All.Any(e => e.Path is "$" or "train_batch_size"
            or "train_micro_batch_size_per_gpu" or "gradient_accumulation_steps");
        BatchPlan? batch = batchIsReadable ? BatchPlan.Resolve(config.Batch, worldSize, errors) : null;
        return errors.Any ? new ConfigReport(null, null, errors.All) : new ConfigReport(config, batch, []);
    }

    /// <summary>The whole config with every default and derived value filled in, as DeepSpeed JSON.</summary>
    public JsonObject Resolved()
    {
        var resolved = new JsonObject
        {
            ["train_batch_size"] = Batch!.TrainBatchSize,
            ["train_micro_batch_size_per_gpu"] = Batch.MicroBatchSize,
            ["gradient_accumulation_steps"] = Batch.GradientAccumulationSteps,
        };
        foreach ((string key, JsonNode? value) in JsonSerializer.SerializeToNode(Config)!.AsObject().ToArray())
        {
            resolved[key] = value?.DeepClone();
        }

        return resolved;
    }

    /// <summary>The report for programs.</summary>
    public string ToJson()
    {
        if (!IsValid)
        {
            return new JsonObject
            {
                ["ok"] = false,
                ["errors"] = new JsonArray([.. Errors.Select(e => new JsonObject
                {
                    ["path"] = e.Path,
                    ["problem"] = e.Problem,
                    ["fix"] = e.Fix,
                })]),
            }.ToJsonString(Indented);
        }

        return new JsonObject
        {
            ["ok"] = true,
            ["train_batch_size"] = Batch!.TrainBatchSize,
            ["train_micro_batch_size_per_gpu"] = Batch.MicroBatchSize,
            ["gradient_accumulation_steps"] = Batch.GradientAccumulationSteps,
            ["config"] = Resolved(),
        }.ToJsonString(Indented);
    }
}

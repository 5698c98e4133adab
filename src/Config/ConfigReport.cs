using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace DeepSpeedSharp.Config;

/// <summary>What <c>deepspeed config check</c> finds: the resolved config, or every problem.</summary>
/// <param name="Config">The config with all batch numbers, when it is valid.</param>
/// <param name="Batch">The three batch numbers, when they are known.</param>
/// <param name="Errors">All problems; empty when the config is valid.</param>
public sealed record ConfigReport(DeepSpeedConfig? Config, BatchPlan? Batch, IReadOnlyList<ConfigError> Errors)
{
    private static readonly JsonSerializerOptions Indented =
        new() { WriteIndented = true, Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    private static readonly JsonSerializerOptions SnakeCase = new() { PropertyNamingPolicy = JsonNamingPolicy.SnakeCaseLower };

    /// <summary>Whether the config follows DeepSpeed's rules and fits the number of ranks.</summary>
    public bool IsValid => Errors.Count == 0;

    /// <summary>What a valid config asks for and the engine of this release cannot do.</summary>
    public IReadOnlyList<ConfigError> Unsupported { get; } = Config is null ? [] : EngineLimits.Problems(Config);

    /// <summary>Checks a config for a world size.</summary>
    /// <param name="json">The JSON text, or URL-safe base64 of it.</param>
    /// <param name="worldSize">Ranks, at least 1.</param>
    /// <returns>The report; never throws for a bad config.</returns>
    public static ConfigReport For(string json, int worldSize)
    {
        var errors = new ConfigErrors();
        return Resolve(DeepSpeedConfig.Read(json, errors), worldSize, errors);
    }

    /// <summary>Checks the config of a job, whose program may fill "auto" when it starts.</summary>
    /// <param name="json">The JSON text.</param>
    /// <param name="worldSize">Ranks, at least 1.</param>
    /// <returns>The report. Its <see cref="Batch"/> is null when a batch number is "auto".</returns>
    public static ConfigReport ForJob(string json, int worldSize)
    {
        var errors = new ConfigErrors();
        DeepSpeedConfig config = DeepSpeedConfig.ReadForLater(json, errors);
        bool isLater = config.UnresolvedAuto.Any(BatchConfig.Concerns);
        return isLater && !errors.Any ? new ConfigReport(config, null, []) : Resolve(config, worldSize, errors, isLater);
    }

    /// <summary>The whole config with every default and derived value filled in, as DeepSpeed JSON.</summary>
    public JsonObject Resolved() => ResolvedConfig.ToJson(Config!, Batch!);

    /// <summary>The report for programs.</summary>
    /// <param name="memory">What a rank needs; null leaves it out.</param>
    public string ToJson(MemoryEstimate? memory = null)
    {
        if (!IsValid)
        {
            return new JsonObject { ["ok"] = false, ["errors"] = List(Errors) }.ToJsonString(Indented);
        }

        var report = new JsonObject
        {
            ["ok"] = true,
            ["train_batch_size"] = Batch!.TrainBatchSize,
            ["train_micro_batch_size_per_gpu"] = Batch.MicroBatchSize,
            ["gradient_accumulation_steps"] = Batch.GradientAccumulationSteps,
            ["unsupported"] = List(Unsupported),
            ["unresolved_auto"] = new JsonArray([.. Config!.UnresolvedAuto.Select(path => (JsonNode)path)]),
            ["config"] = Resolved(),
        };
        if (memory is not null)
        {
            report["memory"] = JsonSerializer.SerializeToNode(memory, SnakeCase);
        }

        return report.ToJsonString(Indented);
    }

    private static ConfigReport Resolve(DeepSpeedConfig config, int worldSize, ConfigErrors errors, bool isLater = false)
    {
        // A batch number that could not be read would only produce a misleading second error.
        BatchPlan? batch = null;
        if (!isLater && !errors.All.Any(e => BatchConfig.Concerns(e.Path) || e.Path.StartsWith("elasticity", StringComparison.Ordinal)))
        {
            batch = Plan(config, worldSize, errors);
        }

        if (errors.Any)
        {
            return new ConfigReport(null, batch, errors.All);
        }

        return new ConfigReport(config with { Batch = BatchConfig.From(batch!) }, batch, []);
    }

    private static BatchPlan? Plan(DeepSpeedConfig config, int worldSize, ConfigErrors errors)
    {
        if (worldSize % config.SequenceParallelSize != 0)
        {
            errors.Add("sequence_parallel_size", $"{worldSize} ranks are not a multiple of {config.SequenceParallelSize}",
                "use another number of ranks");
            return null;
        }

        return BatchPlan.Resolve(config, worldSize / config.SequenceParallelSize, errors);
    }

    private static JsonArray List(IEnumerable<ConfigError> errors) => new([.. errors.Select(e => new JsonObject
    {
        ["path"] = e.Path,
        ["problem"] = e.Problem,
        ["fix"] = e.Fix,
    })]);
}

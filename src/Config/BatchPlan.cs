using System.Globalization;

namespace DeepSpeedSharp.Config;

/// <summary>The three batch numbers as the config states them; any may be missing.</summary>
public sealed record BatchConfig
{
    private const string Train = "train_batch_size";
    private const string Micro = "train_micro_batch_size_per_gpu";
    private const string Steps = "gradient_accumulation_steps";

    /// <summary>Samples per optimizer step over all ranks (<c>train_batch_size</c>).</summary>
    public int? TrainBatchSize { get; init; }

    /// <summary>Samples per forward on one rank (<c>train_micro_batch_size_per_gpu</c>).</summary>
    public int? MicroBatchSize { get; init; }

    /// <summary>Micro batches per optimizer step (<c>gradient_accumulation_steps</c>).</summary>
    public int? GradientAccumulationSteps { get; init; }

    /// <summary>The numbers of a plan.</summary>
    internal static BatchConfig From(BatchPlan plan) => new()
    {
        TrainBatchSize = plan.TrainBatchSize,
        MicroBatchSize = plan.MicroBatchSize,
        GradientAccumulationSteps = plan.GradientAccumulationSteps,
    };

    /// <summary>Whether a problem at this path leaves the batch sizes unknown, so that a plan would only mislead.</summary>
    internal static bool Concerns(string path) =>
        path is "$" or Train or Micro or Steps;

    internal static BatchConfig Read(ConfigSection root)
    {
        int? train = root.Int(Train, minimum: 1);
        int? micro = root.Int(Micro, minimum: 1);
        if (train is null && micro is null && (root.IsForTrainer(Train) || root.IsForTrainer(Micro)))
        {
            micro = ArgumentValues.DefaultMicroBatchSize;
        }

        return new BatchConfig
        {
            TrainBatchSize = train,
            MicroBatchSize = micro,
            GradientAccumulationSteps = root.Int(Steps, minimum: 1),
        };
    }
}

/// <summary>Train batch = micro batch x accumulation steps x data-parallel ranks, with all three known.</summary>
/// <param name="TrainBatchSize">Samples per optimizer step over all ranks.</param>
/// <param name="MicroBatchSize">Samples per forward on one rank.</param>
/// <param name="GradientAccumulationSteps">Micro batches per optimizer step.</param>
/// <param name="WorldSize">Data-parallel ranks.</param>
public sealed record BatchPlan(int TrainBatchSize, int MicroBatchSize, int GradientAccumulationSteps, int WorldSize)
{
    /// <summary>Derives what is missing, by DeepSpeed's rules.</summary>
    /// <param name="batch">The numbers the config states.</param>
    /// <param name="worldSize">Data-parallel ranks, at least 1.</param>
    /// <param name="errors">Receives the problem when the numbers do not fit.</param>
    /// <returns>The plan, or null when a problem was added.</returns>
    public static BatchPlan? Resolve(BatchConfig batch, int worldSize, ConfigErrors errors)
    {
        (int? train, int? micro, int? steps) =
            (batch.TrainBatchSize, batch.MicroBatchSize, batch.GradientAccumulationSteps);
        if (train is null && micro is null)
        {
            errors.Add("train_batch_size", "neither it nor train_micro_batch_size_per_gpu is given",
                "give one of the two, for example \"train_micro_batch_size_per_gpu\": 4");
            return null;
        }

        if (train is null)
        {
            Int128 product = Product(micro, steps, worldSize);
            if (product > int.MaxValue)
            {
                errors.Add("train_micro_batch_size_per_gpu", $"the train batch would be {product} samples",
                    $"use smaller numbers; their product may be at most {int.MaxValue}");
                return null;
            }

            return new BatchPlan((int)product, micro!.Value, steps ?? 1, worldSize);
        }

        int chosenMicro = micro ?? train.Value / worldSize / (steps ?? 1);
        int chosenSteps = steps ?? (micro is null ? 1 : train.Value / micro.Value / worldSize);
        if (chosenMicro > 0 && chosenSteps > 0
            && Product(chosenMicro, chosenSteps, worldSize) == train.Value)
        {
            return new BatchPlan(train.Value, chosenMicro, chosenSteps, worldSize);
        }

        errors.Add("train_batch_size", Explain(train.Value, micro, steps, worldSize), Fix(train.Value, micro, steps, worldSize));
        return null;
    }

    /// <summary>Derives what is missing, or throws.</summary>
    /// <param name="batch">The numbers the config states.</param>
    /// <param name="worldSize">Data-parallel ranks, at least 1.</param>
    /// <returns>The plan.</returns>
    /// <exception cref="ConfigException">The numbers do not fit the world size.</exception>
    public static BatchPlan Resolve(BatchConfig batch, int worldSize)
    {
        var errors = new ConfigErrors();
        BatchPlan? plan = Resolve(batch, worldSize, errors);
        errors.ThrowIfAny("the batch sizes");
        return plan!;
    }

    /// <summary>The numbers of a whole config: what it states, or what its elasticity section chooses for the world size.</summary>
    /// <param name="config">A config without problems.</param>
    /// <param name="worldSize">Data-parallel ranks, at least 1.</param>
    /// <param name="errors">Receives the problem when the numbers do not fit.</param>
    /// <returns>The plan, or null when a problem was added.</returns>
    public static BatchPlan? Resolve(DeepSpeedConfig config, int worldSize, ConfigErrors errors)
    {
        if (!config.Elasticity.Enabled)
        {
            return Resolve(config.Batch, worldSize, errors);
        }

        try
        {
            ElasticBatch batch = ElasticBatch.For(config.Elasticity, worldSize);
            int micro = batch.MicroBatchSize!.Value;
            return new BatchPlan(batch.TrainBatchSize, micro, batch.TrainBatchSize / micro / worldSize, worldSize);
        }
        catch (ConfigException e)
        {
            errors.AddAll("", e.Errors);
            return null;
        }
    }

    /// <summary>The numbers of a whole config, or an exception.</summary>
    /// <param name="config">A config without problems.</param>
    /// <param name="worldSize">Data-parallel ranks, at least 1.</param>
    /// <returns>The plan.</returns>
    /// <exception cref="ConfigException">The numbers do not fit the world size.</exception>
    public static BatchPlan Resolve(DeepSpeedConfig config, int worldSize)
    {
        var errors = new ConfigErrors();
        BatchPlan? plan = Resolve(config, worldSize, errors);
        errors.ThrowIfAny("the batch sizes");
        return plan!;
    }

    private static string Explain(int train, int? micro, int? steps, int worldSize)
    {
        string factors = string.Join(" x ", new[]
        {
            micro is null ? null : Show(micro.Value, "micro batch"),
            steps is null ? null : Show(steps.Value, "accumulation"),
            Show(worldSize, worldSize == 1 ? "rank" : "ranks"),
        }.OfType<string>());
        Int128 product = Product(micro, steps, worldSize);
        return micro is not null && steps is not null
            ? $"{train} is not {factors} = {product}"
            : $"{train} is not a multiple of {factors} = {product}";
    }

    private static string Fix(int train, int? micro, int? steps, int worldSize)
    {
        Int128 unit = Product(micro, steps, worldSize);
        bool isUsable = unit <= int.MaxValue;
        if (micro is not null && steps is not null)
        {
            return isUsable ? $"use {unit} or remove one of the three" : "remove one of the three";
        }

        Int128 below = train / unit * unit;
        return below > 0
            ? $"use {below} or {below + unit}, or another number of ranks"
            : isUsable ? $"use {unit} or a multiple of it, or fewer ranks" : "use smaller numbers";
    }

    // Wide, so that no product of three numbers can wrap around into one that seems to fit.
    private static Int128 Product(int? micro, int? steps, int worldSize) => (Int128)(micro ?? 1) * (steps ?? 1) * worldSize;

    private static string Show(int value, string name) => string.Create(CultureInfo.InvariantCulture, $"{value} ({name})");
}

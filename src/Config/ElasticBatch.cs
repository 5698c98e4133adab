namespace DeepSpeedSharp.Config;

/// <summary>The train batch size that elasticity chooses, so that training may go on with another number of ranks and
/// still take the same steps.</summary>
/// <remarks>
/// Version 0.1 looks for the batch size below the limit that most numbers of ranks divide; batches that are a multiple
/// of a micro batch by a highly composite number have many divisors. Version 0.2 counts in whole nodes and in ranks that
/// hold a copy of the model each. Arithmetic of DeepSpeed's <c>elasticity</c> section.
/// </remarks>
/// <param name="TrainBatchSize">Samples of one optimizer step, over all ranks.</param>
/// <param name="DataParallelSizes">Numbers of model copies that divide it, growing; without model parallelism these are
/// numbers of ranks.</param>
/// <param name="MicroBatchSize">Samples of one pass on one rank; null when no number of ranks was asked for.</param>
public sealed record ElasticBatch(int TrainBatchSize, IReadOnlyList<int> DataParallelSizes, int? MicroBatchSize)
{
    /// <summary>Numbers with more divisors than any smaller one; larger batches use the last.</summary>
    public static IReadOnlyList<int> HighlyComposite { get; } =
    [
        1, 2, 4, 6, 12, 24, 36, 48, 60, 120, 180, 240, 360, 720, 840, 1260, 1680, 2520, 5040, 7560, 10080, 15120, 20160, 25200,
        27720, 45360, 50400, 55440, 83160, 110880, 166320, 221760, 277200, 332640, 498960, 554400, 665280, 720720,
    ];

    /// <summary>Chooses the batch size for every number of ranks.</summary>
    /// <param name="config">A section that was read without problem.</param>
    /// <exception cref="ConfigException">Elasticity is off, or nothing fits the limits.</exception>
    public static ElasticBatch Find(ElasticityConfig config)
    {
        if (!config.Enabled)
        {
            throw Problem("elasticity.enabled", "elasticity is off", "add an elasticity section with \"enabled\": true");
        }

        return Search(config) ?? throw Problem("elasticity.max_train_batch_size",
            $"no batch of at most {config.MaxTrainBatchSize} samples fits {config.MinGpus} to {config.MaxGpus} GPUs",
            "allow a larger batch, smaller micro batches or another number of GPUs");
    }

    /// <summary>Chooses batch and micro batch size for a number of ranks.</summary>
    /// <param name="config">A section that was read without problem.</param>
    /// <param name="worldSize">Number of ranks, at least 1.</param>
    /// <exception cref="ConfigException">Elasticity is off, or the number of ranks does not fit.</exception>
    public static ElasticBatch For(ElasticityConfig config, int worldSize)
    {
        ElasticBatch? found = config is { Enabled: true, Version: > 0.1 } ? Search(config) : Find(config);
        int copies = worldSize / config.ModelParallelSize;
        bool isWhole = worldSize % config.ModelParallelSize == 0;
        if (found is null || !isWhole || !found.DataParallelSizes.Contains(copies))
        {
            found = isWhole && config.Version > 0.1 && worldSize % config.GpusPerNode == 0 ? Largest(config, copies) : null;
        }

        found = found ?? throw Incompatible(config, worldSize);

        // Where no micro batch divides the share of a rank, no number of accumulation steps would fill the batch.
        int share = found.TrainBatchSize / copies;
        int[] fitting = [.. config.MicroBatchSizes.Where(micro => share % micro == 0)];
        return fitting.Length == 0
            ? throw Incompatible(config, worldSize) : found with { MicroBatchSize = fitting.Max() };
    }

    private static ElasticBatch? Search(ElasticityConfig config)
    {
        if (config.Version <= 0.1)
        {
            return Search(config, config.MaxTrainBatchSize, config.MinGpus, config.MaxGpus);
        }

        int perNode = CopiesPerNode(config);
        ElasticBatch? nodes = Search(config, config.MaxTrainBatchSize / perNode,
            config.MinGpus / config.GpusPerNode, config.MaxGpus / config.GpusPerNode);
        return nodes is null ? null : new ElasticBatch(
            nodes.TrainBatchSize * perNode, [.. nodes.DataParallelSizes.Select(n => n * perNode)], null);
    }

    private static ElasticBatch? Search(ElasticityConfig config, int limit, int minimum, int maximum)
    {
        IEnumerable<long> bases = config.MicroBatchSizes.Select(m => (long)m)
            .Append(config.MicroBatchSizes.Aggregate(1L, (lcm, micro) => lcm > limit ? lcm : lcm / Gcd(lcm, micro) * micro));
        IEnumerable<ElasticBatch> candidates = bases.Where(b => b <= limit)
            .Select(b => (int)(b * HighlyComposite.Last(h => h <= limit / b))).Distinct()
            .Select(batch => new ElasticBatch(batch, Counts(batch, config.MicroBatchSizes, minimum, maximum), null))
            .Where(candidate => candidate.DataParallelSizes.Count > 0);
        int sign = config.PreferLargerBatch ? 1 : -1;
        return candidates.OrderByDescending(c => c.DataParallelSizes.Count)
            .ThenByDescending(c => sign * c.TrainBatchSize).FirstOrDefault();
    }

    private static int[] Counts(int batch, IReadOnlyList<int> microBatches, int minimum, int maximum) =>
    [
        .. microBatches.Where(micro => batch % micro == 0).SelectMany(micro => Divisors(batch / micro))
            .Where(count => count >= minimum && count <= maximum).Distinct().Order(),
    ];

    private static IEnumerable<int> Divisors(int number)
    {
        for (int i = 1; (long)i * i <= number; i++)
        {
            if (number % i == 0)
            {
                yield return i;
                yield return number / i;
            }
        }
    }

    // The largest batch for just this number of copies, where no batch for many numbers has it.
    private static ElasticBatch? Largest(ElasticityConfig config, int copies)
    {
        long[] batches = [.. config.MicroBatchSizes.Select(m => (long)m * copies)
            .Where(step => step <= config.MaxTrainBatchSize).Select(step => config.MaxTrainBatchSize / step * step)];
        return batches.Length == 0 ? null
            : new ElasticBatch((int)(config.PreferLargerBatch ? batches.Max() : batches.Min()), [copies], null);
    }

    private static int CopiesPerNode(ElasticityConfig config) =>
        config.GpusPerNode % config.ModelParallelSize == 0 ? config.GpusPerNode / config.ModelParallelSize
            : throw Problem("elasticity.num_gpus_per_node",
                $"{config.GpusPerNode} is not a multiple of model_parallel_size, which is {config.ModelParallelSize}",
                "let the ranks of a model copy share a node");

    private static ConfigException Incompatible(ElasticityConfig config, int worldSize)
    {
        ElasticBatch? found = Search(config);
        string sizes = found is null ? "none fits the limits"
            : string.Join(", ", found.DataParallelSizes.Select(n => n * config.ModelParallelSize));
        return Problem("elasticity", $"{worldSize} {(worldSize == 1 ? "rank does" : "ranks do")} not fit the batch sizes",
            $"use one of these numbers of ranks: {sizes}");
    }

    private static ConfigException Problem(string path, string problem, string fix) =>
        new("the elasticity section", [new ConfigError(path, problem, fix)]);

    private static long Gcd(long a, long b) => b == 0 ? a : Gcd(b, a % b);
}

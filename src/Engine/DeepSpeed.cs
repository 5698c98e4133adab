using System.Globalization;
using DeepSpeedSharp.Config;
using DeepSpeedSharp.Engine.Comm;
using DeepSpeedSharp.Engine.Data;
using DeepSpeedSharp.Engine.Native;
using DeepSpeedSharp.Engine.Optim;
using DeepSpeedSharp.Engine.Schedules;
using TorchSharp;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine;

/// <summary>The entry points, as in the original: <see cref="InitDistributed"/> and <see cref="Initialize{TBatch}"/>.</summary>
public static class DeepSpeed
{
    /// <summary>How long ranks wait for each other when DEEPSPEED_TIMEOUT (minutes) is not set: 10 minutes.</summary>
    public static TimeSpan DefaultTimeout { get; } = TimeSpan.FromMinutes(10);

    /// <summary>Finds the other ranks. Every rank must call this; it returns when all have.</summary>
    /// <param name="environment">This process's place; null reads RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and
    /// MASTER_PORT. When none of them is set, this is a run of one process.</param>
    /// <param name="timeout">How long to wait for the others, here and in each collective; null reads
    /// DEEPSPEED_TIMEOUT.</param>
    /// <returns>The ranks; the caller disposes it at the end.</returns>
    /// <exception cref="ConfigException">The environment is half set.</exception>
    /// <exception cref="PeerLostException">Some rank did not come.</exception>
    public static ProcessGroup InitDistributed(WorkerEnvironment? environment = null, TimeSpan? timeout = null)
    {
        WorkerEnvironment place = environment ?? WorkerEnvironment.Read(System.Environment.GetEnvironmentVariable);
        if (place.Rank is null)
        {
            throw new ConfigException("the environment of this process", [new ConfigError("RANK",
                $"it is not set, and this node has {place.LocalWorldSize} slots", "start one process per slot")]);
        }

        TorchRuntime.Load();
        ITransport? transport = place.WorldSize == 1
            ? null : Rendezvous.JoinAsync(place, timeout ?? TimeoutFromEnvironment()).GetAwaiter().GetResult();
        return new ProcessGroup(place, transport);
    }

    /// <summary>Makes an engine for a model, with the optimizer, data loader and schedule of the config.</summary>
    /// <param name="model">The model; its parameters become views of the engine's flat buffer, and rank 0's values
    /// are copied to all ranks.</param>
    /// <param name="config">The DeepSpeed config; it names the optimizer.</param>
    /// <param name="trainingData">Samples for the data loader, or null.</param>
    /// <param name="group">The ranks, from <see cref="InitDistributed"/>; null calls it.</param>
    /// <param name="device">Where to train; null takes this rank's GPU, or the CPU when there is none.</param>
    /// <param name="shuffleSeed">Seed of the data order; null reads in order.</param>
    /// <returns>Engine, optimizer, data loader (null without data) and schedule (null when the rate is constant). The
    /// caller disposes the engine.</returns>
    /// <exception cref="ConfigException">The config does not fit the world size, or names no optimizer.</exception>
    public static (DeepSpeedEngine Engine, Adam Optimizer, DataLoader<TBatch>? DataLoader, WarmupLR? Schedule)
        Initialize<TBatch>(nn.Module model, DeepSpeedConfig config, ITrainingData<TBatch>? trainingData,
            ProcessGroup? group = null, Device? device = null, long? shuffleSeed = null)
    {
        EngineLimits.ThrowIfAny(config);
        if (config.Optimizer is null)
        {
            throw new ConfigException("the DeepSpeed config", [new ConfigError("optimizer", "there is none",
                "add \"optimizer\": {\"type\": \"AdamW\", \"params\": {\"lr\": 0.001}}")]);
        }

        group ??= InitDistributed();
        BatchPlan batch = BatchPlan.Resolve(config.Batch, group.WorldSize);
        DataLoader<TBatch>? loader = trainingData is null ? null : new DataLoader<TBatch>(trainingData,
            new DistributedSampler(trainingData.Count, batch.MicroBatchSize, group.Rank, group.WorldSize, shuffleSeed));
        var engine = new DeepSpeedEngine(model, config, group, device ?? DefaultDevice(group), loader);
        return (engine, engine.Optimizer, loader, engine.Schedule);
    }

    /// <summary>Makes an engine for a model; batches come from elsewhere.</summary>
    /// <param name="model">As above.</param>
    /// <param name="config">As above.</param>
    /// <param name="group">As above.</param>
    /// <param name="device">As above.</param>
    /// <returns>Engine, optimizer, no data loader, and schedule.</returns>
    public static (DeepSpeedEngine Engine, Adam Optimizer, DataLoader<Tensor>? DataLoader, WarmupLR? Schedule)
        Initialize(nn.Module model, DeepSpeedConfig config, ProcessGroup? group = null, Device? device = null) =>
        Initialize<Tensor>(model, config, null, group, device);

    /// <summary>The device of a rank: the GPU with the number of its local rank, or the CPU.</summary>
    private static Device DefaultDevice(ProcessGroup group) =>
        cuda.is_available() && group.Environment.LocalRank < cuda.device_count()
            ? new Device(DeviceType.CUDA, group.Environment.LocalRank!.Value)
            : CPU;

    private static TimeSpan TimeoutFromEnvironment()
    {
        string? text = System.Environment.GetEnvironmentVariable("DEEPSPEED_TIMEOUT");
        if (string.IsNullOrEmpty(text))
        {
            return DefaultTimeout;
        }

        if (double.TryParse(text, CultureInfo.InvariantCulture, out double minutes) && minutes is > 0 and < 100_000)
        {
            return TimeSpan.FromMinutes(minutes);
        }

        throw new ConfigException("the environment of this process", [new ConfigError("DEEPSPEED_TIMEOUT",
            $"\"{text}\" is not a number of minutes", "use a number above 0, for example 10")]);
    }
}

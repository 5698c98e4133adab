using DeepSpeedSharp.Config;
using DeepSpeedSharp.Config.Schedules;
using DeepSpeedSharp.Engine.Comm;
using DeepSpeedSharp.Engine.Comm.Transport;
using DeepSpeedSharp.Engine.Data;
using DeepSpeedSharp.Engine.Native;
using DeepSpeedSharp.Engine.Observability;
using DeepSpeedSharp.Engine.Optim;
using TorchSharp;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine;

/// <summary>The entry points, as in the original: <see cref="InitDistributed"/> and <see cref="Initialize{TBatch}"/>.</summary>
public static class DeepSpeed
{
    /// <summary>How long ranks wait for each other when DEEPSPEED_TIMEOUT (minutes) is not set: 10 minutes.</summary>
    public static TimeSpan DefaultTimeout { get; } = TimeSpan.FromMinutes(10);

    private static readonly Lock Joining = new();
    private static readonly Dictionary<WorkerEnvironment, ProcessGroup> Joined = [];

    /// <summary>Finds the other ranks. Every rank must call this; it returns when all have. Called again in the same process it
    /// returns the same ranks.</summary>
    /// <param name="environment">This process's place; null reads RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and
    /// MASTER_PORT. When none of them is set, this is a run of one process.</param>
    /// <param name="timeout">How long to wait for the others, here and in each collective; null reads
    /// DEEPSPEED_TIMEOUT.</param>
    /// <param name="distBackend">What moves CUDA tensors: <c>nccl</c>, or <c>host</c> (also <c>gloo</c>, <c>ccl</c>) for copies
    /// through host memory. Null reads DEEPSPEED_COMM_BACKEND and then takes nccl where there is a GPU and DS_ACCELERATOR is not
    /// cpu. CPU tensors go through shared memory and TCP in either case.</param>
    /// <param name="autoMpiDiscovery">Whether what the environment lacks is taken from what MPI, Slurm, AzureML or SageMaker set.</param>
    /// <param name="distributedPort">MASTER_PORT where the environment has none.</param>
    /// <param name="verbose">Whether rank 0 prints how the ranks are linked.</param>
    /// <param name="initMethod">Where rank 0 is: <c>env://</c> (the environment says it; the default) or <c>tcp://host:port</c>.</param>
    /// <param name="distInitRequired">False: the ranks must have been joined before.</param>
    /// <param name="rank">RANK, instead of the environment's; with <paramref name="worldSize"/>.</param>
    /// <param name="worldSize">WORLD_SIZE, instead of the environment's.</param>
    /// <returns>The ranks; the caller disposes it at the end, once.</returns>
    /// <exception cref="ConfigException">The environment is half set, or an argument makes no sense.</exception>
    /// <exception cref="PeerLostException">Some rank did not come.</exception>
    public static ProcessGroup InitDistributed(WorkerEnvironment? environment = null, TimeSpan? timeout = null,
        string? distBackend = null, bool autoMpiDiscovery = true, int distributedPort = 29500, bool verbose = true,
        string? initMethod = null, bool? distInitRequired = null, int rank = -1, int worldSize = -1)
    {
        Func<string, string?> read = System.Environment.GetEnvironmentVariable;
        WorkerEnvironment place = environment ?? DistributedInit.Place(read, autoMpiDiscovery, distributedPort, initMethod, rank, worldSize);
        if (place.Rank is null)
        {
            throw new ConfigException("the environment of this process", [new ConfigError("RANK",
                $"it is not set, and this node has {place.LocalWorldSize} slots", "start one process per slot")]);
        }

        lock (Joining)
        {
            if (Joined.TryGetValue(place, out ProcessGroup? joined) && !joined.IsDisposed)
            {
                return joined;
            }
        }

        if (distInitRequired == false)
        {
            throw new InvalidOperationException("distInitRequired is false, but no ranks have been joined in this process; call "
                + "DeepSpeed.InitDistributed() first, or leave distInitRequired out");
        }

        TorchRuntime.Load();
        ProcessGroup group = GroupFactory.CreateWorldAsync(place, timeout ?? DistributedInit.Timeout(read, DefaultTimeout),
            LinkOptions.Read(read), DistributedInit.UsesNccl(distBackend, read)).GetAwaiter().GetResult();
        // A process alone has nobody to be joined with, and may be several such processes in one, as tests are.
        if (place.WorldSize > 1)
        {
            lock (Joining)
            {
                Joined[place] = group;
            }

            if (verbose && group.Rank == 0)
            {
                Console.WriteLine($"[deepspeed] {group.Description}");
            }
        }

        return group;
    }

    /// <summary>Makes an engine for a model, with the optimizer, data loader and schedule of the config.</summary>
    /// <param name="model">The model; its parameters become views of the engine's flat buffer in the config's
    /// precision, and rank 0's values are copied to all ranks.</param>
    /// <param name="config">The DeepSpeed config.</param>
    /// <param name="trainingData">Samples for the data loader, or null.</param>
    /// <param name="group">The ranks, from <see cref="InitDistributed"/>; null calls it.</param>
    /// <param name="device">Where to train; null takes this rank's GPU, or the CPU when there is none.</param>
    /// <param name="shuffleSeed">Seed of the data order; null reads in order.</param>
    /// <param name="modelParameters">Groups with their own learning rate or weight decay; null trains all alike.</param>
    /// <param name="optimizer">An optimizer over the model's parameters, instead of the config's; fp32 only.</param>
    /// <param name="optimizerFactory">Makes the optimizer from the fp32 parameters it is to update, in any precision.</param>
    /// <param name="scheduler">A scheduler of <paramref name="optimizer"/>; its step is called after each applied step.</param>
    /// <param name="scheduleFactory">Makes the schedule, instead of the config's.</param>
    /// <param name="sampler">The data order; null takes <see cref="EpochSampler"/>, DeepSpeed's.</param>
    /// <param name="printsProgress">False leaves out the lines of <c>steps_per_print</c>, for a program that shows
    /// progress itself.</param>
    /// <param name="print">Takes what rank 0 prints of its steps, as the config asks; null prints to the console.</param>
    /// <returns>Engine, optimizer, data loader (null without data) and schedule (null when the rate is constant). The
    /// caller disposes the engine.</returns>
    /// <exception cref="ConfigException">The config does not fit the world size, names no optimizer, or asks for
    /// something this release cannot do.</exception>
    public static (DeepSpeedEngine Engine, FlatOptimizer Optimizer, DataLoader<TBatch>? DataLoader, LearningRateSchedule? Schedule)
        Initialize<TBatch>(nn.Module model, DeepSpeedConfig config, ITrainingData<TBatch>? trainingData,
            ProcessGroup? group = null, Device? device = null, long? shuffleSeed = null,
            IReadOnlyList<ParameterGroupOptions>? modelParameters = null, optim.Optimizer? optimizer = null,
            Func<IEnumerable<TorchSharp.Modules.Parameter>, optim.Optimizer>? optimizerFactory = null,
            optim.lr_scheduler.LRScheduler? scheduler = null,
            Func<FlatOptimizer, LearningRateSchedule>? scheduleFactory = null, BatchSampler? sampler = null,
            bool printsProgress = true, Action<string>? print = null)
    {
        var client = new ClientParts
        {
            ModelParameters = modelParameters,
            OptimizerObject = optimizer,
            OptimizerFactory = optimizerFactory,
            Scheduler = scheduler,
            ScheduleFactory = scheduleFactory,
        };
        client.Check(config);
        EngineLimits.ThrowIfAny(config);
        group ??= InitDistributed();
        if (config.CommsLogger.Enabled)
        {
            group.Configure(config.CommsLogger, print);
        }

        BatchPlan batch = BatchPlan.Resolve(config.Batch, group.WorldSize);
        DataLoader<TBatch>? loader = trainingData is null ? null
            : Loader(trainingData, batch, group, config, shuffleSeed, sampler);
        var engine = new DeepSpeedEngine(model, config, group, device ?? LocalDevice(group.Environment), loader, client,
            ObserverOutput.Console with { Say = print ?? ObserverOutput.Console.Say, ShowsProgress = printsProgress });
        return (engine, engine.Optimizer, loader, engine.Schedule);
    }

    /// <summary>Makes an engine for a model; batches come from elsewhere.</summary>
    /// <param name="model">As above.</param>
    /// <param name="config">As above.</param>
    /// <param name="group">As above.</param>
    /// <param name="device">As above.</param>
    /// <param name="modelParameters">As above.</param>
    /// <param name="optimizer">As above.</param>
    /// <param name="optimizerFactory">As above.</param>
    /// <param name="scheduler">As above.</param>
    /// <param name="scheduleFactory">As above.</param>
    /// <param name="printsProgress">As above.</param>
    /// <param name="print">As above.</param>
    /// <returns>Engine, optimizer, no data loader, and schedule.</returns>
    public static (DeepSpeedEngine Engine, FlatOptimizer Optimizer, DataLoader<Tensor>? DataLoader, LearningRateSchedule? Schedule)
        Initialize(nn.Module model, DeepSpeedConfig config, ProcessGroup? group = null, Device? device = null,
            IReadOnlyList<ParameterGroupOptions>? modelParameters = null, optim.Optimizer? optimizer = null,
            Func<IEnumerable<TorchSharp.Modules.Parameter>, optim.Optimizer>? optimizerFactory = null,
            optim.lr_scheduler.LRScheduler? scheduler = null,
            Func<FlatOptimizer, LearningRateSchedule>? scheduleFactory = null, bool printsProgress = true,
            Action<string>? print = null) =>
        Initialize<Tensor>(model, config, null, group, device, modelParameters: modelParameters, optimizer: optimizer,
            optimizerFactory: optimizerFactory, scheduler: scheduler, scheduleFactory: scheduleFactory,
            printsProgress: printsProgress, print: print);

    /// <summary>A data loader for a rank.</summary>
    internal static DataLoader<TBatch> Loader<TBatch>(ITrainingData<TBatch> data, BatchPlan batch, ProcessGroup group,
        DeepSpeedConfig config, long? shuffleSeed, BatchSampler? sampler = null) => new(data, sampler
            ?? new EpochSampler(data.Count, batch.MicroBatchSize, group.Rank, group.WorldSize, shuffleSeed, config.DataLoaderDropLast));

    /// <summary>The device of a rank: the GPU with the number of its local rank; the only one that this process sees, where
    /// whoever started it gave it one (CUDA_VISIBLE_DEVICES names a single device); or the CPU.</summary>
    /// <param name="place">The rank.</param>
    public static Device LocalDevice(WorkerEnvironment place)
    {
        int count = cuda.is_available() ? cuda.device_count() : 0;
        bool hasOwn = count == 1 && System.Environment.GetEnvironmentVariable("CUDA_VISIBLE_DEVICES") is { Length: > 0 };
        return place.LocalRank is { } localRank && localRank < count ? new Device(DeviceType.CUDA, localRank)
            : hasOwn ? new Device(DeviceType.CUDA, 0) : CPU;
    }
}

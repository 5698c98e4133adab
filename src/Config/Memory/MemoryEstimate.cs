namespace DeepSpeedSharp.Config;

/// <summary>What one rank needs to train, before anything is started. Bytes.</summary>
/// <remarks>Model states follow exactly from the config; buffers are their largest size; activations follow a rule
/// (<see cref="TransformerShape.ActivationBytes"/>). The runtime's own memory and fragmentation are not counted.</remarks>
public sealed record MemoryEstimate
{
    /// <summary>Parameters of the model.</summary>
    public required long Parameters { get; init; }

    /// <summary>Data-parallel ranks.</summary>
    public required int WorldSize { get; init; }

    /// <summary>What the model computes with, on the device.</summary>
    public required long WeightBytes { get; init; }

    /// <summary>Gradients that stay between two backwards, on the device.</summary>
    public required long GradientBytes { get; init; }

    /// <summary>fp32 copies of 16-bit weights, on the device.</summary>
    public required long MasterBytes { get; init; }

    /// <summary>State of the optimizer, on the device.</summary>
    public required long OptimizerBytes { get; init; }

    /// <summary>Buckets of gradients, and in stage 3 weights that are gathered at a time.</summary>
    public required long BufferBytes { get; init; }

    /// <summary>What backward needs of one micro batch, by the rule.</summary>
    public required long ActivationBytes { get; init; }

    /// <summary>What is offloaded to the CPU.</summary>
    public required long HostBytes { get; init; }

    /// <summary>What is offloaded to a disk.</summary>
    public required long NvmeBytes { get; init; }

    /// <summary>Weights, gradients, masters and optimizer on the device.</summary>
    public long ModelStateBytes => WeightBytes + GradientBytes + MasterBytes + OptimizerBytes;

    /// <summary>Everything on the device.</summary>
    public long DeviceBytes => ModelStateBytes + BufferBytes + ActivationBytes;

    /// <summary>A number of bytes for people, in units of 10^6 or 10^9.</summary>
    /// <param name="bytes">The number.</param>
    public static string Text(long bytes) => bytes < 1e8
        ? FormattableString.Invariant($"{bytes / 1e6:0.0} MB") : FormattableString.Invariant($"{bytes / 1e9:0.0} GB");

    /// <summary>Estimates the memory of one rank.</summary>
    /// <param name="config">The config.</param>
    /// <param name="parameters">Parameters of the model, all trained; at least 1.</param>
    /// <param name="worldSize">Data-parallel ranks, at least 1.</param>
    /// <param name="tokens">Tokens of a micro batch; 0 leaves activations out.</param>
    /// <param name="recompute">Whether layers are computed again in backward.</param>
    /// <param name="shape">The model's shape; null is <see cref="TransformerShape.Usual"/>.</param>
    public static MemoryEstimate For(DeepSpeedConfig config, long parameters, int worldSize, long tokens = 0, bool recompute = false,
        TransformerShape? shape = null)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(parameters, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(worldSize, 1);
        shape ??= TransformerShape.Usual(parameters);
        int stage = config.Zero.Stage;
        bool is16Bit = config.Fp16.Enabled || config.Bf16.Enabled;
        int weight = is16Bit ? 2 : 4;
        int gradient = config.DataTypes.GradAccumDtype == TrainingDataType.Fp32 ? 4 : weight;
        long shard = (parameters + worldSize - 1) / worldSize;
        long updated = stage >= 1 ? shard : parameters;
        long weights = weight * (stage >= 3 ? shard : parameters);
        long gradients = gradient * (stage >= 2 ? shard : parameters);
        long masters = is16Bit ? 4 * updated : 0;
        long optimizer = StateBytes(config.Optimizer?.Params) * updated;

        // The masters go with the optimizer; in fp32 the weights are the masters, and stay.
        (OffloadDevice optimizerDevice, double ratio) = config.Zero.OffloadOptimizer is { } o ? (o.Device, o.Ratio) : (OffloadDevice.None, 0);
        OffloadDevice weightDevice = stage >= 3 && config.Zero.OffloadParam is { } p ? p.Device : OffloadDevice.None;
        long awayOptimizer = optimizerDevice == OffloadDevice.None ? 0 : (long)(ratio * optimizer);
        long awayMasters = optimizerDevice == OffloadDevice.None ? 0 : (long)(ratio * masters);
        long awayGradients = optimizerDevice == OffloadDevice.None || stage < 2 ? 0 : (long)(ratio * gradients);
        long awayWeights = weightDevice == OffloadDevice.None ? 0 : weights;
        long nvme = (optimizerDevice == OffloadDevice.Nvme ? awayOptimizer + awayMasters : 0) + (weightDevice == OffloadDevice.Nvme ? awayWeights : 0);
        return new MemoryEstimate
        {
            Parameters = parameters,
            WorldSize = worldSize,
            WeightBytes = weights - awayWeights,
            GradientBytes = gradients - awayGradients,
            MasterBytes = masters - awayMasters,
            OptimizerBytes = optimizer - awayOptimizer,
            BufferBytes = Buffers(config.Zero, parameters, gradient, weight, shape),
            ActivationBytes = shape.ActivationBytes(tokens, weight, recompute),
            HostBytes = awayOptimizer + awayMasters + awayGradients + awayWeights - nvme,
            NvmeBytes = nvme,
        };
    }

    // Stages 0 and 1 reduce the gradients where they are.
    private static long Buffers(ZeroConfig zero, long parameters, int gradient, int weight, TransformerShape shape)
    {
        if (zero.Stage < 2)
        {
            return 0;
        }

        long buckets = gradient * (zero.OverlapComm ? 2 : 1) * Math.Min(zero.ReduceBucketSize, parameters);
        double gathered = zero.Stage < 3 ? 0 : shape.ParametersPerLayer + zero.Stage3.PrefetchBucketSize;
        return buckets + weight * (long)Math.Min(gathered, parameters);
    }

    // Bytes for each value; without an optimizer in the config, Adam's.
    private static int StateBytes(OptimizerParams? optimizer) => optimizer switch
    {
        LionParams or MuonParams or AdagradParams => 4,
        SgdParams sgd => sgd.Momentum > 0 ? 4 : 0,
        _ => 8,
    };
}

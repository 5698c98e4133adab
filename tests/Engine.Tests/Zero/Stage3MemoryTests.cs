using DeepSpeedSharp.Config;
using DeepSpeedSharp.Engine.Comm;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine.Tests.Zero;

/// <summary>Released parameters really give their memory back, whatever autograd has kept of them.</summary>
[Collection(nameof(AloneTests))]
public sealed class Stage3MemoryTests
{
    private const int Layers = 8;
    private const int Width = 1024;
    private const long LayerBytes = (long)Width * Width * sizeof(float); // the bias is persistent

    [Fact]
    public void Forward_WithItsGraphAlive_HoldsNoWeights() => Ranks.Run(1, group =>
    {
        using DeepSpeedEngine engine = Make(group, out nn.Module<Tensor, Tensor> model, "\"stage3_max_reuse_distance\": 0, \"stage3_prefetch_bucket_size\": 0");
        using Tensor x = ones(1, Width);
        Step(engine, model, x);
        long before = ProcessMemory.AllocatedNatively();

        using Tensor loss = engine.Forward(() => model.call(x).sum());
        long kept = ProcessMemory.AllocatedNatively() - before;
        engine.Backward(loss);

        // Activations and the graph; a linear layer keeps its transposed weight, so it would be all eight layers.
        Assert.InRange(kept, long.MinValue, LayerBytes / 2);
    });

    [Theory]
    [InlineData("\"stage3_max_reuse_distance\": 0, \"stage3_prefetch_bucket_size\": 0", 1)]
    [InlineData("\"stage3_max_reuse_distance\": 0, \"stage3_prefetch_bucket_size\": 2000000", 3)]
    [InlineData("\"stage3_max_reuse_distance\": 0, \"stage3_max_live_parameters\": 2200000", 2)]
    [InlineData("\"stage3_max_reuse_distance\": 5000000, \"stage3_prefetch_bucket_size\": 0", 3)] // the last three layers stay for backward
    [InlineData("\"stage3_max_live_parameters\": 5000000, \"stage3_prefetch_bucket_size\": 0", 5)]
    [InlineData("", Layers)]
    public void Step_WithLimits_HoldsNoMoreLayersThanTheyAllow(string keys, int layers) => Ranks.Run(2, group =>
    {
        using DeepSpeedEngine engine = Make(group, out nn.Module<Tensor, Tensor> model, keys);
        using Tensor x = ones(1, Width);
        Step(engine, model, x);
        Step(engine, model, x);
        engine.PeakLiveElements = 0;

        Step(engine, model, x);

        // Persistent biases come on top.
        Assert.Equal(layers, engine.PeakLiveElements / (Width * Width));
    });

    [Fact]
    public void Step_ManyTimes_KeepsNoMemory() => Ranks.Run(2, group =>
    {
        using DeepSpeedEngine engine = Make(group, out nn.Module<Tensor, Tensor> model, "\"stage3_max_reuse_distance\": 0");
        using Tensor x = ones(1, Width);
        for (int i = 0; i < 3; i++)
        {
            Step(engine, model, x);
        }

        group.Barrier("warm");
        long before = ProcessMemory.AllocatedNatively();
        group.Barrier("measured");
        for (int i = 0; i < 12; i++)
        {
            Step(engine, model, x);
        }

        group.Barrier("trained");
        long kept = ProcessMemory.AllocatedNatively() - before;
        group.Barrier("measured again");
        Assert.InRange(kept, long.MinValue, LayerBytes / 2);
    });

    // A model that is built shard by shard: the process holds its shards and one layer.
    [Fact]
    public void Init_ModelOfManyLayers_NeverHoldsMoreThanShardsAndOneLayer()
    {
        const int ranks = 4;
        long[] whole = new long[ranks];
        long before = ProcessMemory.AllocatedNatively();
        long peak = 0;
        Ranks.Run(ranks, group =>
        {
            using (DeepSpeed.Zero.Init(group, fromRankZero: true))
            {
                var layers = new List<nn.Module<Tensor, Tensor>>();
                for (int i = 0; i < Layers; i++)
                {
                    nn.Module<Tensor, Tensor> layer = Build();
                    InterlockedMax(ref peak, ProcessMemory.AllocatedNatively() - before);
                    layers.Add(DeepSpeed.Zero.Partition(layer));
                }

                whole[group.Rank] = layers.Sum(l => l.parameters().Sum(p => p.numel()));
                group.Barrier("built"); // all shards live at the same time
                InterlockedMax(ref peak, ProcessMemory.AllocatedNatively() - before);
                layers.ForEach(l => l.Dispose());
            }
        });

        Assert.All(whole, n => Assert.Equal(Layers * (Width * Width + Width), n));
        // All ranks are one process: together they hold one model in shards, and a layer each (twice while it is sent).
        Assert.InRange(peak, Layers * LayerBytes, (Layers + 2 * ranks) * LayerBytes * 11 / 10);
    }

    private static readonly Lock Building = new();

    // libtorch's generator is shared by the ranks of a test.
    private static TorchSharp.Modules.Linear Build()
    {
        lock (Building)
        {
            return nn.Linear(Width, Width);
        }
    }

    private static void InterlockedMax(ref long location, long value)
    {
        long seen;
        while (value > (seen = Interlocked.Read(ref location)) && Interlocked.CompareExchange(ref location, value, seen) != seen)
        {
        }
    }

    private static void Step(DeepSpeedEngine engine, nn.Module<Tensor, Tensor> model, Tensor x)
    {
        using Tensor loss = engine.Forward(() => model.call(x).sum());
        engine.Backward(loss);
        engine.Step();
    }

    private static DeepSpeedEngine Make(ProcessGroup group, out nn.Module<Tensor, Tensor> model, string keys)
    {
        model = nn.Sequential(Enumerable.Range(0, Layers).Select(i => ($"{i}", (nn.Module<Tensor, Tensor>)Build())));
        return DeepSpeed.Initialize(model, DeepSpeedConfig.Parse($$"""
            {"train_micro_batch_size_per_gpu": 1, "zero_optimization": {"stage": 3, "stage3_param_persistence_threshold": {{Width}},
             "reduce_bucket_size": 1100000 {{(keys.Length > 0 ? $", {keys}" : "")}} },
             "optimizer": {"type": "SGD", "params": {"lr": 0.001} } }
            """), group, CPU, printsProgress: false).Engine;
    }
}

using DeepSpeedSharp.Config;
using DeepSpeedSharp.Engine.Comm;
using DeepSpeedSharp.Worker.Gpt2;
using TorchSharp;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine.Tests.Devices;

/// <summary>A small GPT-2 under the engine, on the CPU and on a GPU, against a bare loop in fp64.</summary>
[Collection(nameof(AloneTests))]
public sealed class PrecisionParityTests
{
    private const int Steps = 20;

    private static readonly Gpt2Config Shape = new()
    {
        VocabSize = 96,
        Positions = 32,
        Embedding = 32,
        Layers = 2,
        Heads = 2,
        AttentionDropout = 0,
        EmbeddingDropout = 0,
        ResidualDropout = 0,
    };

    public static TheoryData<string, string, double> Modes() => new()
    {
        { "cpu", "fp32", 2e-5 }, { "cpu", "bf16", 1e-2 }, { "cpu", "fp16", 2e-3 },
        { "cuda", "fp32", 2e-5 }, { "cuda", "bf16", 1e-2 }, { "cuda", "fp16", 2e-3 },
    };

    [Theory]
    [MemberData(nameof(Modes))]
    public void Train_AnyPrecision_FollowsFp64(string device, string precision, double tolerance)
    {
        SkipWithout(device);
        (double Loss, double Norm)[] expected = InFp64();

        (double Loss, double Norm)[] actual = UnderTheEngine(new Device(device), precision);

        for (int i = 0; i < Steps; i++)
        {
            Assert.Equal(expected[i].Loss, actual[i].Loss, tolerance * expected[i].Loss);
            Assert.Equal(expected[i].Norm, actual[i].Norm, 10 * tolerance * expected[i].Norm);
        }

        Assert.True(actual[^1].Loss < 0.95 * actual[0].Loss);
    }

    // Two ranks share the device; their gradients meet in host memory.
    [Theory]
    [InlineData("cpu", "fp32")]
    [InlineData("cpu", "bf16")]
    [InlineData("cuda", "fp32")]
    [InlineData("cuda", "bf16")]
    public void Train_TwoRanksOnOneDevice_EqualOneRankWithBothBatches(string device, string precision)
    {
        SkipWithout(device);
        double tolerance = precision == "fp32" ? 2e-5 : 2e-2;
        (double Loss, double Norm)[] expected = UnderTheEngine(new Device(device), precision);

        (double Loss, double Norm)[] actual = UnderTheEngine(new Device(device), precision, ranks: 2);

        for (int i = 0; i < Steps; i++)
        {
            Assert.Equal(expected[i].Loss, actual[i].Loss, tolerance * expected[i].Loss);
        }

        // Adam hides a wrong average; the norm shows it.
        Assert.Equal(expected[0].Norm, actual[0].Norm, tolerance * expected[0].Norm);
    }

    // The numbers of a step may be read at once or later: they are the same.
    [Theory]
    [InlineData("cpu")]
    [InlineData("cuda")]
    public void Metrics_ReadAStepLater_AreThoseOfTheStep(string device)
    {
        SkipWithout(device);
        (double Loss, double Norm)[] later = UnderTheEngine(new Device(device), "bf16", readLater: true);

        Assert.Equal(UnderTheEngine(new Device(device), "bf16"), later);
    }

    internal static void SkipWithout(string device) =>
        Assert.SkipUnless(device == "cpu" || cuda.is_available(), "this machine has no GPU that libtorch can use");

    /// <summary>Trains the small model as one rank of a group; the same batches whatever the number of ranks (1 or 2).</summary>
    internal static (double Loss, double Norm)[] Train(ProcessGroup group, Device device, string precision, int stage, bool readLater)
    {
        int ranks = group.WorldSize;
        string mode = precision == "fp32" ? "" : $$""", "{{precision}}": {"enabled": true{{(precision == "fp16" ? ", \"initial_scale_power\": 10" : "")}} }""";
        DeepSpeedConfig config = DeepSpeedConfig.Parse($$"""
            {"train_batch_size": 4, "train_micro_batch_size_per_gpu": {{4 / ranks / 2}}, "gradient_clipping": 1.0,
             "zero_optimization": {"stage": {{stage}}, "reduce_bucket_size": 10000, "allgather_bucket_size": 10000,
                 "stage3_param_persistence_threshold": 100},
             "optimizer": {"type": "AdamW", "params": {"lr": 0.003, "weight_decay": 0.01} } {{mode}} }
            """);
        Gpt2Model model = Fresh();
        (DeepSpeedEngine engine, _, _, _) = DeepSpeed.Initialize(model, config, group, device, printsProgress: false);
        using (engine)
        {
            var results = new List<StepResult>();
            while (results.Count < Steps)
            {
                (Tensor x, Tensor y) = ModelData.Batch((int)(engine.MicroSteps * ranks + group.Rank), 2 / ranks, device);
                using (x)
                using (y)
                using (Tensor loss = engine.Forward(x, y))
                {
                    engine.Backward(loss);
                }

                if (engine.Step() is { } step)
                {
                    results.Add(step);
                    _ = readLater ? null : step.Metrics;
                }
            }

            return [.. results.Select(r => (r.Metrics.Loss, r.Metrics.GradientNorm!.Value))];
        }
    }

    private static (double Loss, double Norm)[] UnderTheEngine(Device device, string precision, int ranks = 1, bool readLater = false) =>
        Ranks.Run(ranks, group => Train(group, device, precision, 0, readLater))[0];

    // Ranks are threads here, and libtorch's random numbers are the process's: one model at a time, or they mix.
    internal static Gpt2Model Fresh()
    {
        lock (Shape)
        {
            manual_seed(5);
            return new Gpt2Model(Shape);
        }
    }

    // What the papers say, without an engine: accumulation, clipping and AdamW in double precision.
    private static (double Loss, double Norm)[] InFp64()
    {
        using var scope = NewDisposeScope();
        nn.Module<Tensor, Tensor, Tensor> model = Fresh().to(float64);
        var optimizer = optim.AdamW(model.parameters(), 0.003, weight_decay: 0.01);
        var results = new List<(double, double)>();
        for (int step = 0; step < Steps; step++)
        {
            double sum = 0;
            optimizer.zero_grad();
            for (int micro = 0; micro < 2; micro++)
            {
                (Tensor x, Tensor y) = ModelData.Batch(step * 2 + micro, 2, CPU);
                Tensor loss = model.call(x, y);
                (loss / 2).backward();
                sum += loss.ToDouble();
            }

            double norm = nn.utils.clip_grad_norm_(model.parameters(), 1.0);
            optimizer.step();
            results.Add((sum / 2, norm));
        }

        return [.. results];
    }

    /// <summary>Tokens with something to learn: each is the one before plus a step of its row.</summary>
    internal static class ModelData
    {
        public static (Tensor X, Tensor Y) Batch(int number, int rows, Device device)
        {
            long[] tokens = [.. Enumerable.Range(0, rows).SelectMany(r => Enumerable.Range(0, 17)
                .Select(t => (long)((number * rows + r) * 7 + t * (1 + (number * rows + r) % 3)) % 96))];
            using Tensor all = tensor(tokens, [rows, 17]);
            using Tensor x = all.narrow(1, 0, 16).contiguous();
            using Tensor y = all.narrow(1, 1, 16).contiguous();
            return (x.to(device).alias(), y.to(device).alias());
        }
    }
}

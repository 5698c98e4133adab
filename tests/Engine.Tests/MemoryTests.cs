using DeepSpeedSharp.Config;
using DeepSpeedSharp.Engine.ActivationCheckpointing;
using DeepSpeedSharp.Engine.Comm;
using DeepSpeedSharp.Engine.Data;
using TorchSharp;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine.Tests;

/// <summary>A long run holds as much memory at its end as after its first steps.</summary>
[Collection(nameof(AloneTests))]
public sealed class MemoryTests(ITestOutputHelper output)
{
    private const int Steps = 2000;
    private const int Settled = 1200; // by then everything is compiled and every buffer made
    private const int Window = 200;
    private const int OverflowEvery = 50;

    [Theory]
    [InlineData("")]
    [InlineData(""", "fp16": { "enabled": true, "initial_scale_power": 8, "loss_scale_window": 20, "hysteresis": 1 }""")]
    [InlineData(""", "bf16": { "enabled": true }, "data_types": { "grad_accum_dtype": "fp32" }""")]
    public void Train_TwoThousandSteps_HoldsNoMoreMemoryThanInTheBeginning(string precision)
    {
        DeepSpeedConfig config = DeepSpeedConfig.Parse($$"""
            { "train_micro_batch_size_per_gpu": 4, "gradient_accumulation_steps": 2, "gradient_clipping": 1.0,
              "optimizer": { "type": "AdamW", "params": { "lr": 1e-3 } },
              "scheduler": { "type": "WarmupLR", "params": { "warmup_num_steps": 100 } },
              "zero_optimization": { "reduce_bucket_size": 300 },
              "steps_per_print": 100, "wall_clock_breakdown": true {{precision}} }
            """);

        (long skipped, List<ProcessMemory> memory) = Ranks.Run(2, group => Train(group, config))[0];

        ProcessMemory[] growth = [.. memory.Skip(1).Zip(memory, (after, before) => after - before)];
        output.WriteLine($"{skipped} steps skipped\n{string.Join('\n', growth)}\n{string.Join(", ", memory.Select(m => m.UndisposedTensors))}");
        Assert.Equal(precision.Length > 0, skipped >= Steps / OverflowEvery);
        Assert.InRange(memory[^1].Tensors - memory[0].Tensors, -4, 4); // there were 80 evaluations and 16 overflows since
        // A GPU's memory cannot wait for the garbage collector. The first measurement also finds what earlier tests left.
        Assert.InRange(memory.Skip(1).Max(m => m.UndisposedTensors), 0, 4);
        Assert.InRange(memory[^1].ManagedBytes - memory[0].ManagedBytes, long.MinValue, 24 << 10); // the smallest object, once a step on both ranks, is 38 KB
        Assert.InRange(Least(growth, g => g.NativeBytes), long.MinValue, 8 << 10); // 40 bytes a step; a tensor has hundreds
        Assert.InRange(Least(growth, g => g.ResidentBytes), long.MinValue, 256 << 10);
    }

    // What leaks does so in every window; the runtime takes and returns memory of its own now and then.
    private static long Least(ProcessMemory[] growth, Func<ProcessMemory, long> of) => growth.Min(of);

    private static (long Skipped, List<ProcessMemory> Memory) Train(ProcessGroup group, DeepSpeedConfig config)
    {
        using var model = new CheckpointedSequence([Layer(3), Layer(16), Layer(16), Layer(16), nn.Linear(16, 3)], 3);
        (DeepSpeedEngine engine, _, DataLoader<(Tensor X, Tensor Y)>? loader, _) =
            DeepSpeed.Initialize(model, config, new ToyData(), group, CPU, print: _ => { });
        List<ProcessMemory> memory = [];
        using (engine)
        {
            StepResult? unread = null;
            for (int i = 0; i < Steps; i++)
            {
                if (i >= Settled && (i - Settled) % Window == 0)
                {
                    memory.Add(Measure(group));
                }

                StepResult step = TakeStep(engine, loader!, overflows: engine.Precision != "fp32" && i % OverflowEvery == 0);
                if (i % 3 != 0) // a step later, as a loop on a GPU reads them; some are never read
                {
                    Assert.InRange(unread?.Metrics.Step ?? i, i, i);
                }

                unread = step;
                if (i % 10 == 0)
                {
                    Evaluate(engine, loader!);
                }
            }

            memory.Add(Measure(group));
            return (engine.SkippedSteps, memory);
        }
    }

    private static StepResult TakeStep(DeepSpeedEngine engine, DataLoader<(Tensor X, Tensor Y)> loader, bool overflows)
    {
        while (true)
        {
            (Tensor x, Tensor y) = loader.Next();
            using (x)
            using (y)
            using (Tensor loss = engine.Forward(() => Loss(engine, x, y) * (overflows ? float.PositiveInfinity : 1)))
            {
                engine.Backward(loss);
                if (engine.Step() is { } step)
                {
                    return step;
                }
            }
        }
    }

    private static void Evaluate(DeepSpeedEngine engine, DataLoader<(Tensor X, Tensor Y)> loader)
    {
        engine.Eval();
        (Tensor x, Tensor y) = loader.Next();
        using (x)
        using (y)
        using (no_grad())
        using (Tensor loss = engine.Forward(() => Loss(engine, x, y)))
        {
            Assert.True(float.IsFinite(loss.ToSingle()));
        }

        engine.Train();
    }

    private static Tensor Loss(DeepSpeedEngine engine, Tensor x, Tensor y)
    {
        var model = (CheckpointedSequence)engine.Module;
        ScalarType type = model.parameters().First().dtype;
        return nn.functional.mse_loss(model.call(x.to(type)).to(float32), y);
    }

    // No dropout: libtorch's random state is the process's, and two ranks here are threads of one, which recomputation would
    // have set it back under each other.
    private static nn.Module<Tensor, Tensor> Layer(int inputs) => nn.Sequential(nn.Linear(inputs, 16), nn.Tanh());

    // All ranks are threads of this process, so all of them stop for it.
    private static ProcessMemory Measure(ProcessGroup group)
    {
        group.Barrier("before");
        ProcessMemory memory = group.Rank == 0 ? ProcessMemory.Measure() : default;
        group.Barrier("after");
        return memory;
    }
}

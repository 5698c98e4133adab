using DeepSpeedSharp.Config;
using DeepSpeedSharp.Engine.Data;
using DeepSpeedSharp.Engine.Optim;
using DeepSpeedSharp.Engine.Precision;
using DeepSpeedSharp.Engine.Zero;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine.Tests.Zero;

/// <summary>What a rank holds for all of training.</summary>
[Collection(nameof(AloneTests))]
public sealed class ZeroMemoryTests
{
    // 16-bit weights and gradients, fp32 masters and two moments. Rajbhandari et al., "ZeRO", 2020, figure 1.
    [Theory]
    [InlineData(0, 1)]
    [InlineData(0, 2)]
    [InlineData(1, 1)]
    [InlineData(1, 2)]
    [InlineData(1, 4)]
    [InlineData(2, 1)]
    [InlineData(2, 3)]
    [InlineData(2, 4)]
    [InlineData(3, 1)]
    [InlineData(3, 2)]
    [InlineData(3, 3)]
    [InlineData(3, 4)]
    public void ModelStateBytes_Bf16WithAdam_IsTheTheorysPerParameter(int stage, int ranks)
    {
        double expected = stage switch { 0 => 16, 1 => 4 + 12.0 / ranks, 2 => 2 + 14.0 / ranks, _ => 16.0 / ranks };
        (long bytes, long parameters)[] measured = Ranks.Run(ranks, group =>
        {
            DeepSpeedConfig config = DeepSpeedConfig.Parse($$"""
                {"train_micro_batch_size_per_gpu": 1, "bf16": {"enabled": true}, "zero_optimization": {"stage": {{stage}}},
                 "optimizer": {"type": "AdamW", "params": {"lr": 0.01} } }
                """);
            (DeepSpeedEngine engine, _, _, _) = DeepSpeed.Initialize(nn.Linear(500, 400), config, group, CPU);
            using (engine)
            {
                return (engine.ModelStateBytes, engine.ParameterCount);
            }
        });

        // Padding to 128 bytes is all that may be added.
        Assert.All(measured, m => Assert.InRange(m.bytes / (double)m.parameters, expected, expected * 1.001));
    }

    [Theory]
    [InlineData(false, 1)]
    [InlineData(true, 2)]
    public void Stage2_BetweenBackwards_KeepsOnlyItsShardOfTheGradients(bool overlaps, int buffers)
    {
        Ranks.Run(3, group =>
        {
            var model = new OddModel();
            var config = new ZeroConfig { Stage = 2, ReduceBucketSize = 40, OverlapComm = overlaps };
            using var parameters = new FlatParameters(model, CPU, PrecisionPlan.From(new DeepSpeedConfig()),
                all => [new GroupSpec("all", new AdamParams(), [.. all.Select(p => p.Name)])], Sharding.From(config, group));
            using var stage = new Stage2Gradients(parameters, group, config, new AveragingPlan(1, 1), ScalarType.Float32);
            using var scope = NewDisposeScope();
            (Tensor x, Tensor y) = new OddData().Batch([0, 1]);
            for (int micro = 0; micro < 2; micro++)
            {
                stage.Begin();
                // The largest bucket is the largest parameter.
                model.call(x, y).backward();
                Assert.Equal(buffers * 37 * 29, stage.BufferElements);
                stage.Finish();
                Assert.Equal(0, stage.BufferElements);
                Assert.All(model.parameters(), p => Assert.Null(p.grad));
                Assert.Equal(parameters.Shards.ShardElements, parameters.Gradients.numel());
            }
        });
    }

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    public void Train_HundredSteps_KeepsNoTensors(int stage) => Ranks.Run(2, group =>
    {
        var model = new OddModel();
        DeepSpeedConfig config = DeepSpeedConfig.Parse($$"""
            {"train_micro_batch_size_per_gpu": 1, "gradient_accumulation_steps": 2, "bf16": {"enabled": true},
             "zero_optimization": {"stage": {{stage}}, "stage3_param_persistence_threshold": 0, "stage3_max_reuse_distance": 0, "reduce_bucket_size": 50, "overlap_comm": true},
             "optimizer": {"type": "AdamW", "params": {"lr": 0.01} } }
            """);
        (DeepSpeedEngine engine, _, DataLoader<(Tensor X, Tensor Y)>? loader, _) =
            DeepSpeed.Initialize(model, config, new OddData(), group, CPU, printsProgress: false);
        using (engine)
        {
            long before = 0;
            for (int i = 0; i < 220; i++)
            {
                if (i == 20)
                {
                    group.Barrier("start");
                    AloneTests.Collect();
                    group.Barrier("collected");
                    before = Tensor.TotalCount;
                    group.Barrier("counted");
                }

                ZeroRun.Step(engine, model, loader!);
            }

            group.Barrier("end");
            long kept = Tensor.TotalCount - before;
            group.Barrier("counted again"); // before an engine is disposed
            Assert.InRange(kept, long.MinValue, 20); // a leak would be 100s
        }
    });
}

using DeepSpeedSharp.Config;
using DeepSpeedSharp.Engine.ActivationCheckpointing;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine.Tests;

[Collection(nameof(AloneTests))]
public sealed class CheckpointedEngineTests
{
    // Gradients are summed over ranks from hooks that now fire in a backward inside the backward, in several buckets.
    [Theory]
    [InlineData("")]
    [InlineData(""", "bf16": { "enabled": true }""")]
    [InlineData(""", "fp16": { "enabled": true, "initial_scale_power": 4 }""")]
    public void Train_TwoRanks_GivesTheSameWeightsAsWithoutCheckpoints(string precision)
    {
        DeepSpeedConfig config = DeepSpeedConfig.Parse($$"""
            { "train_micro_batch_size_per_gpu": 4, "gradient_accumulation_steps": 2,
              "optimizer": { "type": "AdamW", "params": { "lr": 0.01 } },
              "zero_optimization": { "reduce_bucket_size": 100 } {{precision}} }
            """);

        byte[][] plain = Train(config, layers => nn.Sequential(layers));
        byte[][] checkpointed = Train(config, layers => new CheckpointedSequence(layers, 2));

        Assert.Equal(plain, checkpointed);
        Assert.Equal(plain[0], plain[1]);
    }

    private static byte[][] Train(DeepSpeedConfig config, Func<nn.Module<Tensor, Tensor>[], nn.Module<Tensor, Tensor>> make)
    {
        manual_seed(5);
        float[][] initial = [.. Enumerable.Range(0, 4).Select(_ => rand(8 * 8).data<float>().ToArray())];
        float[] samples = rand(2 * 6 * 4 * 8).data<float>().ToArray();
        return Ranks.Run(2, group =>
        {
            nn.Module<Tensor, Tensor> model = make([.. initial.Select(values => Layer(values))]);
            using DeepSpeedEngine engine = DeepSpeed.Initialize(model, config, group, CPU).Engine;
            ScalarType dtype = model.parameters().First().dtype;
            for (int i = 0; i < 6; i++)
            {
                using var scope = NewDisposeScope();
                Tensor x = tensor(samples, [2, 6, 4, 8])[group.Rank, i].to(dtype);
                Tensor loss = engine.Forward(() => model.call(x).to(float32).square().mean());
                engine.Backward(loss);
                engine.Step();
            }

            return model.parameters().SelectMany(p => p.detach().contiguous().bytes.ToArray()).ToArray();
        });
    }

    private static nn.Module<Tensor, Tensor> Layer(float[] values)
    {
        var linear = nn.Linear(8, 8);
        using IDisposable noGrad = no_grad();
        linear.weight!.copy_(tensor(values, [8, 8]));
        linear.bias!.zero_();
        return nn.Sequential(linear, nn.Tanh());
    }
}

using DeepSpeedSharp.Engine.Observability;
using DeepSpeedSharp.Worker.Gpt2;
using Microsoft.Extensions.Time.Testing;
using TorchSharp;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine.Tests;

public sealed class Gpt2FlopsTests
{
    [Fact]
    public void Profile_Gpt2_IsCompleteAndMatchesTheAnalyticCount()
    {
        using DisposeScope scope = NewDisposeScope();
        var config = new Gpt2Config { VocabSize = 512, Positions = 32, Embedding = 64, Layers = 3, Heads = 4 };
        var model = new Gpt2Model(config);
        const int Batch = 2, Length = 24;
        Tensor tokens = zeros(Batch, Length, int64);

        using var profiler = new FlopsProfiler(model, new FakeTimeProvider(), () => { });
        model.call(tokens, tokens);
        ModuleProfile root = profiler.Root;

        long d = config.Embedding;
        long layer = 12 * d * d + 2 * Length * d; // products of a token with weights; scores and mix
        long macs = Batch * Length * (config.Layers * layer + config.VocabSize * d);
        Assert.Equal(macs, root.Work.Macs);
        // The worker's own count has the products alone; norms, biases and activations add less than the hundredth part
        // in models of any size that is used, and a little more in this one.
        double forward = Batch * Length * config.FlopsPerToken(Length) / 3;
        Assert.Equal(forward, 2.0 * root.Work.Macs, forward * 1e-9);
        long layerElements = 2 * 5 * d + (3 * d + d) + (4 * d + d) + 4 * d; // norms; biases of four projections; gelu
        double analytic = forward + Batch * Length * (config.Layers * layerElements + 5 * d);
        Assert.Equal(analytic, root.Work.Flops, analytic * 0.01);
        Assert.DoesNotContain(root.All(), m => m.IsUncounted);
        Assert.Equal(model.parameters().Sum(p => p.numel()), root.Parameters);
    }
}

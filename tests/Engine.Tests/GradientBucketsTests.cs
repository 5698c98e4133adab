using DeepSpeedSharp.Engine.Comm;
using TorchSharp;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine.Tests;

public sealed class GradientBucketsTests
{
    [Theory]
    [InlineData(2, 1)]
    [InlineData(2, 20)]
    [InlineData(3, 7)]
    [InlineData(4, 1_000_000)]
    public void Finish_ReducedWhileBackwardRuns_EqualsReducedAfterwards(int worldSize, long bucketElements)
    {
        float[][] overlapped = Ranks.Run(worldSize, group => Reduce(group, bucketElements, overlap: true));
        float[][] plain = Ranks.Run(worldSize, group => Reduce(group, bucketElements, overlap: false));

        // The same buckets and ring make the same additions in the same order: equal to the bit.
        Assert.Equal(plain[0], overlapped[0]);
        Assert.All(overlapped, gradients => Assert.Equal(overlapped[0], gradients));
    }

    [Fact]
    public void Finish_ParameterThatBackwardDoesNotReach_IsReducedAsZero()
    {
        float[][] sums = Ranks.Run(2, group =>
        {
            // Rank 1 uses only one of the two layers.
            var model = new TwoLayers();
            using var parameters = new FlatParameters(model, CPU);
            using var buckets = new GradientBuckets(parameters, group, 1);
            using var scope = NewDisposeScope();
            buckets.Begin();
            Tensor x = ones(1, 2);
            Tensor loss = group.Rank == 0 ? (model.a.call(x) + model.b.call(x)).sum() : model.a.call(x).sum();
            loss.backward();
            buckets.Finish();
            return parameters.Slots.Select(s => FlatParameters.View(parameters.Gradients, s).sum().ToSingle()).ToArray();
        });

        Assert.Equal([4f, 2f], sums[0]); // two weights, each with gradient 1 per rank that used it
        Assert.Equal(sums[0], sums[1]);
    }

    [Fact]
    public void Split_ParametersOfDifferentSizes_FillsFromTheLastAndNeverSplitsOne()
    {
        ParameterSlot[] slots = [.. new long[] { 10, 3, 4, 100, 1 }.Select((n, i) => new ParameterSlot($"p{i}", [n], 0, n))];

        IEnumerable<string> buckets = GradientBuckets.Split(slots, 8).Select(b => string.Join(',', b));

        Assert.Equal(["4", "3", "2,1", "0"], buckets);
    }

    private static float[] Reduce(ProcessGroup group, long bucketElements, bool overlap)
    {
        var model = new ToyModel();
        using var parameters = new FlatParameters(model, CPU);
        using var buckets = new GradientBuckets(parameters, group, bucketElements, overlap);
        using var scope = NewDisposeScope();
        Tensor x = full(2, 3, 0.1f * (group.Rank + 1));
        model.call(x, x * 2).backward(); // an earlier micro batch: accumulates, and reduces nothing
        buckets.Begin();
        model.call(x, x * 3).backward();
        buckets.Finish();
        return parameters.Gradients.data<float>().ToArray();
    }

    private sealed class TwoLayers : nn.Module<Tensor, Tensor>
    {
        internal readonly TorchSharp.Modules.Linear a = nn.Linear(2, 1, hasBias: false);
        internal readonly TorchSharp.Modules.Linear b = nn.Linear(2, 1, hasBias: false);

        public TwoLayers()
            : base(nameof(TwoLayers)) => RegisterComponents();

        public override Tensor forward(Tensor x) => a.call(x) + b.call(x);
    }
}

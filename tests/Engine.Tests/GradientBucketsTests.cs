using DeepSpeedSharp.Config;
using DeepSpeedSharp.Engine.Comm;
using DeepSpeedSharp.Engine.Optim;
using DeepSpeedSharp.Engine.Precision;
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
            using FlatParameters parameters = Flat(model);
            using var buckets = new GradientBuckets(parameters, group, 1, Plain, ScalarType.Float32, new HashSet<int>());
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

        IEnumerable<string> buckets = GradientBuckets.Split(slots, 8, new HashSet<int>()).Select(b => string.Join(',', b));

        Assert.Equal(["4", "3", "2,1", "0"], buckets);
    }

    [Fact]
    public void Split_ParameterThatIsReducedByRows_IsAlone()
    {
        ParameterSlot[] slots = [.. new long[] { 1, 2, 3, 4, 5 }.Select((n, i) => new ParameterSlot($"p{i}", [n], 0, n))];

        IEnumerable<string> buckets = GradientBuckets.Split(slots, 100, new HashSet<int> { 2 }).Select(b => string.Join(',', b));

        Assert.Equal(["4,3", "2", "1,0"], buckets);
    }

    // Every way of averaging is the same mean; in 16 bits up to their rounding.
    [Theory]
    [InlineData("{}", ScalarType.Float32, 1e-6)]
    [InlineData("""{"prescale_gradients": true}""", ScalarType.Float32, 1e-6)]
    [InlineData("""{"gradient_predivide_factor": 2.0}""", ScalarType.Float32, 1e-6)]
    [InlineData("{}", ScalarType.BFloat16, 2e-2)]
    [InlineData("""{"gradient_predivide_factor": 3.0}""", ScalarType.Float16, 3e-3)]
    public void Finish_AnyWayOfAveraging_LeavesTheMeanAfterTheRestOfTheDivision(string settings, ScalarType travelling, double tolerance)
    {
        DeepSpeedConfig config = DeepSpeedConfig.Parse(settings.Insert(1, "\"train_batch_size\": 3" + (settings.Length > 2 ? ", " : "")));
        float[][] means = Ranks.Run(3, group =>
        {
            AveragingPlan averaging = AveragingPlan.From(config, 3);
            return Reduce(group, 12, overlap: true, averaging, travelling).Select(g => (float)(g / averaging.Left)).ToArray();
        });
        float[] sum = Ranks.Run(3, group => Reduce(group, 12, overlap: true))[0];

        Assert.All(means, mean => Vectors.Close([.. sum.Select(s => s / 3)], mean, tolerance, tolerance / 100));
    }

    // Rows 1 and 4 by rank 0, row 4 by rank 1, none by rank 2; and a table that every rank touches everywhere.
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Finish_EmbeddingByRows_EqualsTheAllReduce(bool touchesAll)
    {
        float[][] Run(bool byRows) => Ranks.Run(3, group =>
        {
            manual_seed(3);
            var model = nn.Embedding(20, 6);
            using FlatParameters parameters = Flat(model);
            IReadOnlySet<int> embeddings = byRows ? Embeddings.SlotsOf(model, parameters) : new HashSet<int>();
            Assert.Equal(byRows ? 1 : 0, embeddings.Count);
            using var buckets = new GradientBuckets(parameters, group, 1000, Plain, ScalarType.Float32, embeddings);
            using var scope = NewDisposeScope();
            long[] rows = touchesAll ? [.. Enumerable.Range(0, 20)] : group.Rank switch { 0 => [1, 4, 4], 1 => [4], _ => [] };
            buckets.Begin();
            if (rows.Length > 0)
            {
                (model.call(tensor(rows)) * (group.Rank + 0.5f)).sum().backward();
            }

            buckets.Finish();
            return parameters.Gradients.data<float>().ToArray();
        });

        float[][] rows = Run(byRows: true);

        Assert.Equal(Run(byRows: false)[0], rows[0]);
        Assert.All(rows, r => Assert.Equal(rows[0], r));
        Assert.NotEqual(0, rows[0].Sum());
    }

    // An embedding takes several exchanges; those of other buckets must not come between them, on any rank.
    [Theory]
    [InlineData(ScalarType.Float32)]
    [InlineData(ScalarType.BFloat16)]
    public void Finish_SeveralEmbeddings_KeepTheOrderOfCollectives(ScalarType travelling)
    {
        float[][] Run(bool byRows) => Ranks.Run(2, group =>
        {
            manual_seed(3);
            var tables = new nn.Module<Tensor, Tensor>[6];
            for (int i = 0; i < tables.Length; i++)
            {
                tables[i] = nn.Embedding(30 + i, 4);
            }

            using var model = nn.Sequential(tables.Select((table, i) => ($"t{i}", table)));
            using FlatParameters parameters = Flat(model);
            IReadOnlySet<int> embeddings = byRows ? Embeddings.SlotsOf(model, parameters).Where(i => i % 3 != 0).ToHashSet() : new HashSet<int>();
            using var buckets = new GradientBuckets(parameters, group, 1, Plain, travelling, embeddings);
            using var scope = NewDisposeScope();
            buckets.Begin();
            foreach (nn.Module<Tensor, Tensor> table in tables.Reverse())
            {
                table.call(tensor([1L, 2 + group.Rank])).sum().backward();
                Task.Delay(10 * group.Rank).GetAwaiter().GetResult(); // rank 0 has started all sums when rank 1 has started the first
            }

            buckets.Finish();
            return parameters.Gradients.data<float>().ToArray();
        });

        float[][] rows = Run(byRows: true);

        Assert.Equal(Run(byRows: false)[0], rows[0]); // small whole numbers: exact in every type
        Assert.Equal(rows[0], rows[1]);
    }

    private static readonly AveragingPlan Plain = new(1, 1);

    private static FlatParameters Flat(nn.Module model) => new(model, CPU, PrecisionPlan.From(new DeepSpeedConfig()),
        parameters => [new GroupSpec("all", new AdamParams(), [.. parameters.Select(p => p.Name)])]);

    private static float[] Reduce(ProcessGroup group, long bucketElements, bool overlap,
        AveragingPlan? averaging = null, ScalarType travelling = ScalarType.Float32)
    {
        var model = new ToyModel();
        using FlatParameters parameters = Flat(model);
        using var buckets = new GradientBuckets(parameters, group, bucketElements, averaging ?? Plain, travelling, new HashSet<int>(), overlap);
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

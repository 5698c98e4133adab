using DeepSpeedSharp.Engine.Data;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine.Tests;

public sealed class DataLoaderTests
{
    public static TheoryData<bool, bool> Kinds => new() { { false, false }, { false, true }, { true, false }, { true, true } };

    [Theory]
    [MemberData(nameof(Kinds))]
    public void Next_ResumedAnywhere_GoesOnAsIfUninterrupted(bool continuous, bool prefetch)
    {
        BatchSampler Sampler() => continuous ? new ContinuousSampler(10, 3, 1, 2, 5) : new EpochSampler(10, 3, 1, 2, 5);
        using var whole = new DataLoader<IReadOnlyList<long>>(new Indices(), Sampler());
        string[] expected = [.. Enumerable.Range(0, 14).Select(_ => string.Join(' ', whole.Next()))];

        for (int i = 0; i < 10; i++)
        {
            using var resumed = new DataLoader<IReadOnlyList<long>>(new Indices(), Sampler(), prefetch);
            resumed.Next();
            resumed.Position = i;

            Assert.Equal(expected[i..(i + 4)], Enumerable.Range(0, 4).Select(_ => string.Join(' ', resumed.Next())));
            Assert.Equal(i + 4, resumed.Position);
        }
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Foreach_GivesOneEpochAndTheNextOneThen(bool prefetch)
    {
        using var loader = new DataLoader<IReadOnlyList<long>>(new Indices(), new EpochSampler(10, 2, 0, 2, null), prefetch);

        Assert.Equal(3, loader.Count);
        Assert.Equal([[0, 2], [4, 6], [8]], loader);
        Assert.Equal([0, 2], loader.Next());
        Assert.Equal([[4, 6], [8]], loader);
        Assert.Equal(6, loader.Position);
    }

    [Fact]
    public void Next_Prefetching_ReadsOneBatchAheadAndNotMore()
    {
        var data = new Indices();
        using var loader = new DataLoader<IReadOnlyList<long>>(data, new EpochSampler(10, 1, 0, 1, null), prefetch: true);

        loader.Next();
        loader.Next();
        loader.Dispose(); // waits for the batch under way

        Assert.Equal(3, data.Reads);
        Assert.Equal("data prefetch", data.ReadBy);
        Assert.Throws<ObjectDisposedException>(() => loader.Next());
    }

    [Fact]
    public void Next_DataFailsAhead_ThrowsOnTheCallersThreadWhenItsTurnComes()
    {
        using var loader = new DataLoader<IReadOnlyList<long>>(new Indices { Bad = 2 }, new EpochSampler(4, 1, 0, 1, null), prefetch: true);

        Assert.Equal([0], loader.Next());
        Assert.Equal([1], loader.Next());
        Assert.Equal("sample 2 is damaged", Assert.Throws<InvalidDataException>(() => loader.Next()).Message);
        Assert.Equal(2, loader.Position);
        loader.Position = 3;
        Assert.Equal([3], loader.Next());
    }

    [Fact]
    public void Next_Prefetching_TensorsBelongToTheCallersScope()
    {
        using var loader = new DataLoader<(Tensor X, Tensor Y)>(new ToyTensors(), new EpochSampler(8, 2, 0, 1, null), prefetch: true);
        (Tensor X, Tensor Y) inScope;
        using (NewDisposeScope())
        {
            inScope = loader.Next();
            Assert.Equal([0f, 1f], inScope.X.data<float>().ToArray());
        }

        (Tensor X, Tensor Y) outside = loader.Next();

        Assert.True(inScope.X.IsInvalid && inScope.Y.IsInvalid);
        Assert.False(outside.X.IsInvalid || outside.Y.IsInvalid);
        outside.X.Dispose();
        outside.Y.Dispose();
    }

    [Fact]
    public void Dispose_Prefetching_FreesTheBatchNobodyTook()
    {
        var data = new ToyTensors();
        using var loader = new DataLoader<(Tensor X, Tensor Y)>(data, new EpochSampler(8, 2, 0, 1, null), prefetch: true);
        (Tensor X, Tensor Y) taken = loader.Next();

        loader.Position = 3; // what was read ahead is of no use now
        (Tensor X, Tensor Y) moved = loader.Next();
        loader.Dispose();

        Assert.Equal(4, data.Made.Count);
        Assert.False(taken.X.IsInvalid || moved.Y.IsInvalid);
        Assert.Equal([false, true, false, true], data.Made.Select(b => b.X.IsInvalid));
        Assert.Equal([false, true, false, true], data.Made.Select(b => b.Y.IsInvalid));
        taken.X.Dispose();
        taken.Y.Dispose();
        moved.X.Dispose();
        moved.Y.Dispose();
    }

    private sealed class Indices : ITrainingData<IReadOnlyList<long>>
    {
        public int Reads { get; private set; }

        public string? ReadBy { get; private set; }

        public long Bad { get; init; } = -1;

        public long Count => 10;

        public IReadOnlyList<long> Batch(IReadOnlyList<long> indices)
        {
            (Reads, ReadBy) = (Reads + 1, Thread.CurrentThread.Name);
            return indices.Contains(Bad) ? throw new InvalidDataException($"sample {Bad} is damaged") : indices;
        }
    }

    private sealed class ToyTensors : ITrainingData<(Tensor X, Tensor Y)>
    {
        public List<(Tensor X, Tensor Y)> Made { get; } = [];

        public long Count => 8;

        public (Tensor X, Tensor Y) Batch(IReadOnlyList<long> indices)
        {
            float[] values = [.. indices.Select(i => (float)i)];
            Made.Add((tensor(values), tensor(values)));
            return Made[^1];
        }
    }
}

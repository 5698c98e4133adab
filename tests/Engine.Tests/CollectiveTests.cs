using DeepSpeedSharp.Engine.Comm;
using DeepSpeedSharp.Engine.Comm.Algorithms;
using DeepSpeedSharp.Engine.Comm.Transport;
using TorchSharp;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine.Tests;

public sealed class CollectiveTests
{
    [Theory]
    [InlineData(1, 5)]
    [InlineData(2, 1)]
    [InlineData(2, 8)]
    [InlineData(3, 2)]
    [InlineData(3, 1000)]
    [InlineData(4, 7)]
    [InlineData(5, 100_003)]
    public void AllReduce_AnyWorldSizeAndLength_EqualsSumOverRanks(int worldSize, int length)
    {
        float[][] results = Ranks.Run(worldSize, group =>
        {
            using var scope = NewDisposeScope();
            Tensor values = tensor([.. Enumerable.Range(0, length).Select(i => (float)(i % 97 * worldSize + group.Rank))]);
            group.AllReduce(values);
            return values.data<float>().ToArray();
        });

        // Element i is i*N + r on rank r, so the sum is N*i*N + N(N-1)/2: whole numbers, exact in fp32.
        float[] expected = [.. Enumerable.Range(0, length).Select(i => (float)(worldSize * (i % 97) * worldSize + worldSize * (worldSize - 1) / 2))];
        Assert.All(results, result => Assert.Equal(expected, result));
    }

    [Theory]
    [InlineData(2, 0, 10)]
    [InlineData(3, 2, 3_000_000)]
    [InlineData(4, 1, 1)]
    public void Broadcast_AnyRoot_GivesAllRanksItsValues(int worldSize, int root, int length)
    {
        float[] sums = Ranks.Run(worldSize, group =>
        {
            using var scope = NewDisposeScope();
            Tensor values = full(length, group.Rank + 1f);
            group.Broadcast(values, root);
            return values.sum().ToSingle();
        });

        Assert.All(sums, sum => Assert.Equal((root + 1f) * length, sum));
    }

    [Fact]
    public void AllGather_TextsOfDifferentLength_ArriveInRankOrderOnAllRanks()
    {
        IReadOnlyList<string>[] results = Ranks.Run(3, group => group.AllGather(new string('x', group.Rank * 5), "test"));

        Assert.All(results, texts => Assert.Equal(["", "xxxxx", "xxxxxxxxxx"], texts));
    }

    [Fact]
    public void AllReduce_SeveralInFlight_EndInOrderWithTheRightSums()
    {
        float[][] results = Ranks.Run(3, group =>
        {
            using var scope = NewDisposeScope();
            Tensor[] buckets = [.. Enumerable.Range(1, 20).Select(i => full(1000 * i, (float)i))];
            Task[] tasks = [.. buckets.Select((b, i) => group.AllReduceAsync(b, $"bucket {i}").Completion)];
            Task.WaitAll(tasks);
            return buckets.Select(b => b.mean().ToSingle()).ToArray();
        });

        Assert.All(results, means => Assert.Equal(Enumerable.Range(1, 20).Select(i => 3f * i), means));
    }

    [Fact]
    public void AllReduce_WrongElementType_SaysWhichOneIsSupported()
    {
        var error = Assert.Throws<ArgumentException>(() => Ranks.Run(1, group =>
        {
            using var scope = NewDisposeScope();
            group.AllReduce(zeros(3, ScalarType.Bool), "token counts");
        }));

        Assert.Contains("token counts", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void AllReduce_RankThatLeft_ThrowsPeerLostOnTheOthers()
    {
        bool[] lost = Ranks.Run(3, group =>
        {
            if (group.Rank == 1)
            {
                return true;
            }

            try
            {
                using var scope = NewDisposeScope();
                group.AllReduce(ones(10));
                return false;
            }
            catch (PeerLostException)
            {
                return true;
            }
        });

        Assert.All(lost, Assert.True);
    }

    // Owners of very different lengths, some of nothing; the sum has a closed form and is exact in 16 bits too.
    [Theory]
    [InlineData(1, ScalarType.Float32, "5")]
    [InlineData(2, ScalarType.Float32, "3,0")]
    [InlineData(3, ScalarType.Float32, "0,1000,7")]
    [InlineData(3, ScalarType.Float16, "4,4,4")]
    [InlineData(4, ScalarType.BFloat16, "1,0,33,2")]
    [InlineData(4, ScalarType.Float32, "0,0,0,0")]
    public void ReduceScatter_UnevenRanges_GivesEachOwnerTheSumOfItsPart(int worldSize, ScalarType type, string lengths)
    {
        ElementRange[] ranges = Ranges(lengths);
        float[][] results = Ranks.Run(worldSize, group =>
        {
            using var scope = NewDisposeScope();
            Tensor values = Values(ranges, group.Rank, type);
            group.ReduceScatterAsync(values, ranges, "test").Wait();
            return Floats(values.narrow(0, ranges[group.Rank].Start, ranges[group.Rank].Length));
        });

        for (int rank = 0; rank < worldSize; rank++)
        {
            float[] expected = [.. Enumerable.Range((int)ranges[rank].Start, (int)ranges[rank].Length)
                .Select(i => (float)(worldSize * (i % 13) + worldSize * (worldSize - 1) / 2))];
            Assert.Equal(expected, results[rank]);
        }
    }

    [Theory]
    [InlineData(1, "5", 100)]
    [InlineData(3, "2,0,9", 100)]
    [InlineData(3, "2,0,9", 6)] // rounds of two elements per rank
    [InlineData(4, "8,8,8,8", 1)]
    public void AllGather_UnevenRangesInRounds_GivesAllRanksEverything(int worldSize, string lengths, long bucketElements)
    {
        ElementRange[] ranges = Ranges(lengths);
        float[][] results = Ranks.Run(worldSize, group =>
        {
            using var scope = NewDisposeScope();
            Tensor values = full(ranges[^1].End, -1f);
            ElementRange own = ranges[group.Rank];
            values.narrow(0, own.Start, own.Length).copy_(Values(ranges, 0, ScalarType.Float32).narrow(0, own.Start, own.Length));
            group.AllGather(values, ranges, "test", bucketElements);
            return Floats(values);
        });

        float[] expected = [.. Enumerable.Range(0, (int)ranges[^1].End).Select(i => (float)(i % 13))];
        Assert.All(results, result => Assert.Equal(expected, result));
    }

    // fp32 values whose sum depends on the order: the plain way adds from the rank after the owner around to the owner.
    [Fact]
    public void ReduceScatter_AroundARing_AddsFromTheRankAfterTheOwner()
    {
        ElementRange[] ranges = Ranges("50,3,41");
        float[][] inputs = [.. Enumerable.Range(0, 3).Select(rank => Enumerable.Range(0, 94).Select(i => (float)Math.Sin(i * 7.3 + rank * 1.7) * (1 << (i % 20))).ToArray())];
        float[][] results = Ranks.Run(HostLinks.InProcess([1, 1, 1], TimeSpan.FromMinutes(1)), group =>
        {
            using var scope = NewDisposeScope();
            Tensor values = tensor(inputs[group.Rank]);
            group.ReduceScatterAsync(values, ranges, "test").Wait();
            return Floats(values.narrow(0, ranges[group.Rank].Start, ranges[group.Rank].Length));
        });

        for (int rank = 0; rank < 3; rank++)
        {
            float[] expected = [.. Enumerable.Range((int)ranges[rank].Start, (int)ranges[rank].Length)
                .Select(i => inputs[(rank + 1) % 3][i] + inputs[(rank + 2) % 3][i] + inputs[rank][i])];
            Assert.Equal(expected, results[rank]);
        }
    }

    [Fact]
    public void ReduceScatter_RankThatLeft_ThrowsPeerLostOnTheOthers()
    {
        ElementRange[] ranges = Ranges("4,4,4");
        bool[] lost = Ranks.Run(3, group =>
        {
            using var scope = NewDisposeScope();
            return group.Rank == 1 || Record.Exception(() =>
                group.ReduceScatterAsync(ones(12), ranges, "test").Wait()) is PeerLostException;
        });

        Assert.All(lost, Assert.True);
    }

    private static ElementRange[] Ranges(string lengths)
    {
        var ranges = new List<ElementRange>();
        foreach (long length in lengths.Split(',').Select(long.Parse))
        {
            ranges.Add(new ElementRange(ranges.Count == 0 ? 0 : ranges[^1].End, length));
        }

        return [.. ranges];
    }

    private static Tensor Values(ElementRange[] ranges, int rank, ScalarType type) =>
        tensor([.. Enumerable.Range(0, (int)ranges[^1].End).Select(i => (float)(i % 13 + rank))]).to(type);

    private static float[] Floats(Tensor values) => values.to(float32).data<float>().ToArray();

    [Theory]
    [InlineData(10, 3, "0+4 4+3 7+3")]
    [InlineData(2, 3, "0+1 1+1 2+0")]
    [InlineData(0, 2, "0+0 0+0")]
    public void ChunkOf_UnevenLengths_CoversEverythingOnce(int elements, int count, string expected)
    {
        IEnumerable<string> chunks = Enumerable.Range(0, count).Select(i => Ring.ChunkOf(elements, i, count)).Select(c => $"{c.Start}+{c.Length}");

        Assert.Equal(expected, string.Join(' ', chunks));
    }
}

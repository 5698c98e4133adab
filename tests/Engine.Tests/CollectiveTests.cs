using DeepSpeedSharp.Engine.Comm;
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
            Task[] tasks = [.. buckets.Select((b, i) => group.AllReduceAsync(b, $"bucket {i}"))];
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
            group.AllReduce(zeros(3, int64), "token counts");
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

using DeepSpeedSharp.Engine.Data;

namespace DeepSpeedSharp.Engine.Tests;

public sealed class SamplerTests
{
    [Theory]
    [InlineData(2, 0, 0, "0 1 2")]
    [InlineData(2, 1, 0, "3 4 5")]
    [InlineData(2, 0, 1, "6 7 8")]
    [InlineData(2, 1, 1, "9 0 1")]
    [InlineData(1, 0, 4, "2 3 4")]
    public void Indices_InOrder_FollowRankAndMicroBatchAndWrapAround(int worldSize, int rank, long microStep, string expected)
    {
        var sampler = new ContinuousSampler(10, 3, rank, worldSize, null);

        Assert.Equal(expected, string.Join(' ', sampler.Indices(microStep)));
    }

    [Fact]
    public void Indices_Shuffled_ReadEverySampleOncePerPassInAnotherOrderEachPass()
    {
        ContinuousSampler[] ranks = [.. Enumerable.Range(0, 2).Select(r => new ContinuousSampler(12, 3, r, 2, 42))];
        long[] Pass(int pass) => [.. Enumerable.Range(2 * pass, 2).SelectMany(i => ranks.SelectMany(s => s.Indices(i)))];

        (long[] first, long[] second) = (Pass(0), Pass(1));

        Assert.Equal(Enumerable.Range(0, 12).Select(i => (long)i), first.Order());
        Assert.Equal(first.Order(), second.Order());
        Assert.NotEqual(first, second);
        Assert.Equal(first, Pass(0));
    }
}

using DeepSpeedSharp.Operator.Planning;

namespace DeepSpeedSharp.Operator.Tests.Planning;

public sealed class NodeRangesTests
{
    [Theory]
    [InlineData(new int[0], null)]
    [InlineData(new[] { 3 }, "3")]
    [InlineData(new[] { 2, 0, 1, 7 }, "0-2,7")]
    [InlineData(new[] { 1, 3, 5 }, "1,3,5")]
    public void Format_AnyIndexes_IsCompactAndReadsBack(int[] indexes, string? text)
    {
        Assert.Equal(text, NodeRanges.Format(indexes));
        Assert.Equal(indexes.Order(), NodeRanges.Parse(text).Order());
    }

    [Theory]
    [InlineData("x,2-1,4")]
    [InlineData("0-999999999,4")]
    public void Parse_Nonsense_IsLeftOut(string text) => Assert.Equal([4], NodeRanges.Parse(text));
}

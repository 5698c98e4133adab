using System.Text.Json;
using DeepSpeedSharp.Engine.Zero;

namespace DeepSpeedSharp.Engine.Tests.Zero;

public sealed class ShardMapTests
{
    public static TheoryData<int> Cases(string part) =>
        [.. Enumerable.Range(0, Vectors.Read("zero_partition.json").GetProperty(part).GetArrayLength())];

    [Theory]
    [MemberData(nameof(Cases), "stage_1_2")]
    public void Over_TheOriginalsPacking_GivesItsPaddingAndSegments(int index)
    {
        JsonElement c = Vectors.Read("zero_partition.json").GetProperty("stage_1_2")[index];
        JsonElement expected = c.GetProperty("expected");
        long[] numels = Longs(c.GetProperty("param_numels"));
        int world = c.GetProperty("dp_world_size").GetInt32();

        IReadOnlyList<int> order = ShardMap.Order(numels.Length, world, c.GetProperty("round_robin_gradients").GetBoolean());
        var places = new Dictionary<int, ElementRange>(); // the original leaves no gaps
        long total = 0;
        foreach (int parameter in order)
        {
            places[parameter] = new ElementRange(total, numels[parameter]);
            total += numels[parameter];
        }

        ShardMap map = ShardMap.Over(total, world, ShardMap.OriginalAlignment);

        Assert.Equal(Longs(expected.GetProperty("flat_order")), order.Select(i => (long)i));
        Assert.Equal(expected.GetProperty("total").GetInt64(), total);
        Assert.Equal(expected.GetProperty("padded_total").GetInt64(), map.Elements);
        Assert.Equal(expected.GetProperty("partition_size").GetInt64(), map.ShardElements);
        Assert.Equal(world, expected.GetProperty("ranks").GetArrayLength());
        foreach (JsonElement rank in expected.GetProperty("ranks").EnumerateArray())
        {
            int r = rank.GetProperty("rank").GetInt32();
            Assert.Equal(new ElementRange(rank.GetProperty("start").GetInt64(), map.ShardElements), map.RangeOf(r));
            Assert.Equal(rank.GetProperty("end").GetInt64(), map.RangeOf(r).End);
            Assert.Equal(rank.GetProperty("padding").GetInt64(), map.PaddingOf(r, total));
            IEnumerable<(int, ShardSegment)> segments = order.Select(i => (i, map.SegmentOf(r, places[i]))).Where(s => s.Item2.Length > 0);
            Assert.Equal(rank.GetProperty("segments").EnumerateArray().Select(s => (s.GetProperty("param").GetInt32(), new ShardSegment(
                s.GetProperty("param_offset").GetInt64(), s.GetProperty("partition_offset").GetInt64(), s.GetProperty("length").GetInt64()))), segments);
        }
    }

    // The original fills buckets in the order in which gradients arrive; ours are ranges of that size in flat order, from
    // the last parameter, which is the order of arrival in a model that uses its parameters in order.
    [Theory]
    [MemberData(nameof(Cases), "reduce_buckets")]
    public void Split_GradientsThatArriveInFlatOrderFromTheLast_GivesTheOriginalsBuckets(int index)
    {
        JsonElement c = Vectors.Read("zero_partition.json").GetProperty("reduce_buckets")[index];
        long[] arriving = Longs(c.GetProperty("grad_numels_in_arrival_order"));
        ParameterSlot[] slots = [.. arriving.Reverse().Select((n, i) => new ParameterSlot($"p{i}", [n], 0, n))];

        IEnumerable<IEnumerable<long>> buckets = GradientBuckets.Split(slots, c.GetProperty("reduce_bucket_size").GetInt64(), new HashSet<int>())
            .Select(bucket => bucket.Select(slot => (long)(slots.Length - 1 - slot)));

        Assert.Equal(c.GetProperty("expected_buckets").EnumerateArray().Select(Longs), buckets);
    }

    [Theory]
    [InlineData(0, 3)]
    [InlineData(1, 4)]
    [InlineData(97, 3)]
    [InlineData(1000, 7)]
    public void Cut_AnyPart_CoversItOnceInTheOrderOfRanks(long elements, int world)
    {
        ShardMap map = ShardMap.Over(elements, world, 32);
        foreach (ElementRange part in (ElementRange[])[new(0, map.Elements), new(map.Elements / 3, map.Elements / 2), new(map.Elements, 0)])
        {
            IReadOnlyList<ElementRange> cut = map.Cut(part);

            Assert.Equal(world, cut.Count);
            long covered = 0;
            foreach ((int rank, ElementRange range) in cut.Index().Where(r => r.Item.Length > 0))
            {
                Assert.Equal(covered, range.Start);
                covered = range.End;
                Assert.Equal(range.Length, map.RangeOf(rank).Intersect(new ElementRange(part.Start + range.Start, range.Length)).Length);
            }

            Assert.Equal(part.Length, covered);
        }
    }

    private static long[] Longs(JsonElement list) => [.. list.EnumerateArray().Select(v => v.GetInt64())];

    public static TheoryData<int> Stage3Cases() => [.. Enumerable.Range(0, Vectors.Read("zero_partition.json").GetProperty("stage_3").GetArrayLength())];

    [Theory]
    [MemberData(nameof(Stage3Cases))]
    public void Partition_Stage3_IsTheOriginals(int index)
    {
        JsonElement c = Vectors.Read("zero_partition.json").GetProperty("stage_3")[index];
        int ranks = c.GetProperty("world_size").GetInt32();
        long[] elements = [.. c.GetProperty("param_numels").EnumerateArray().Select(n => n.GetInt64())];
        IReadOnlyList<bool> persistent = ParameterPartition.Persistent(elements, c.GetProperty("param_persistence_threshold").GetInt64(), long.MaxValue);

        foreach ((JsonElement expected, int i) in c.GetProperty("expected").GetProperty("params").EnumerateArray().Select((p, i) => (p, i)))
        {
            ParameterPartition cut = ParameterPartition.Of(elements[i], ranks, alignment: 1);
            Assert.Equal((expected.GetProperty("partition_numel").GetInt64(), expected.GetProperty("padded").GetInt64(), expected.GetProperty("persistent").GetBoolean()),
                (cut.PartElements, cut.PaddedElements, persistent[i]));
            foreach (JsonElement part in expected.GetProperty("partitions").EnumerateArray())
            {
                ElementRange range = cut.RangeOf(part.GetProperty("rank").GetInt32());
                Assert.Equal(part.GetProperty("valid").GetInt64(), range.Length);
                Assert.True(range.Length == 0 || range.Start == part.GetProperty("start").GetInt64());
            }
        }
    }
}

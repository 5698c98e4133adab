using System.Text.Json;
using DeepSpeedSharp.Engine.Data;

namespace DeepSpeedSharp.Engine.Tests;

public sealed class EpochSamplerTests
{
    public static TheoryData<int> Cases => [.. Enumerable.Range(0, Vectors.Read("dataloader.json").GetProperty("cases").GetArrayLength())];

    [Theory]
    [MemberData(nameof(Cases))]
    public void Epoch_ReferenceCase_HasTheSameSamplesAndBatches(int number)
    {
        JsonElement c = Vectors.Read("dataloader.json").GetProperty("cases")[number];
        int Number(string name) => c.GetProperty(name).GetInt32();
        int worldSize = Number("dp_world_size");
        JsonElement indices = c.GetProperty("unshuffled_indices_by_rank");

        for (int rank = 0; rank < worldSize; rank++)
        {
            var sampler = new EpochSampler(Number("dataset_size"), Number("micro_batch"), rank, worldSize, null,
                c.GetProperty("dataloader_drop_last").GetBoolean());

            Assert.Equal(Number("samples_per_rank"), sampler.SamplesPerRank);
            Assert.Equal(Number("batches_per_rank"), sampler.BatchesPerEpoch);
            if (indices.ValueKind == JsonValueKind.Array)
            {
                // Dropping concerns the loader's last batch, not what the rank is given.
                var everything = new EpochSampler(Number("dataset_size"), Number("micro_batch"), rank, worldSize, null);
                Assert.Equal(indices[rank].EnumerateArray().Select(e => e.GetInt64()), Epoch(everything, 0));
                Assert.Equal(indices[rank].EnumerateArray().Select(e => e.GetInt64()).Take(sampler.MicroBatchSize * (int)sampler.BatchesPerEpoch),
                    Epoch(sampler, 0));
            }
        }
    }

    [Theory]
    [InlineData(12, 3, 2)]
    [InlineData(13, 3, 2)]
    [InlineData(7, 2, 4)]
    [InlineData(1, 4, 3)]
    public void Epoch_Shuffled_ReadsEverySampleInAnotherOrderEachTime(int count, int microBatchSize, int worldSize)
    {
        long[] All(long epoch) => [.. Enumerable.Range(0, worldSize)
            .SelectMany(r => Epoch(new EpochSampler(count, microBatchSize, r, worldSize, 42), epoch))];

        long[] first = All(0);

        Assert.Equal(Enumerable.Range(0, count).Select(i => (long)i), first.Distinct().Order());
        Assert.Equal(worldSize * ((count + worldSize - 1) / worldSize), first.Length);
        Assert.Equal(first, All(0));
        if (count > 3)
        {
            Assert.NotEqual(first, All(1));
        }
    }

    // What all ranks have read after k micro batches is the same, however many they are: the first places of the pass.
    [Theory]
    [InlineData(4, 2, 2, 2)]
    [InlineData(2, 4, 4, 3)]
    [InlineData(1, 6, 3, 4)]
    public void PositionOf_AnotherWorldSize_GoesOnWithWhatIsUnread(int oldWorld, int newWorld, int oldMicro, int newMicro)
    {
        const int Count = 48;
        IEnumerable<long> Read(int world, int micro, long from, long to) => Enumerable.Range(0, world).SelectMany(r =>
        {
            var sampler = new EpochSampler(Count, micro, r, world, 7);
            return Enumerable.Range((int)from, (int)(to - from)).SelectMany(i => sampler.Indices(i));
        });
        var before = new EpochSampler(Count, oldMicro, 0, oldWorld, 7);
        var after = new EpochSampler(Count, newMicro, 0, newWorld, 7);
        long stop = before.BatchesPerEpoch + before.BatchesPerEpoch / 2;

        long position = after.PositionOf(before.PlaceOf(stop));

        Assert.Equal(before.PlaceOf(stop), after.PlaceOf(position));
        Assert.Equal(Enumerable.Range(0, Count).Select(i => (long)i), Read(oldWorld, oldMicro, before.BatchesPerEpoch, stop)
            .Concat(Read(newWorld, newMicro, position, 2 * after.BatchesPerEpoch)).Order());
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void PositionOf_PlaceOfTheSameSizes_IsTheInverse(bool continuous)
    {
        BatchSampler sampler = continuous ? new ContinuousSampler(10, 3, 1, 2, 5) : new EpochSampler(10, 3, 1, 2, 5);

        Assert.All(Enumerable.Range(0, 25), i => Assert.Equal(i, sampler.PositionOf(sampler.PlaceOf(i))));
    }

    // 10 samples a rank in micro batches of 4 are 8 and 2; half of that round, seen by a run of batch size 8, is none.
    [Fact]
    public void PositionOf_PlaceInsideAMicroBatch_ReadsItAgain()
    {
        var sampler = new EpochSampler(20, 4, 0, 2, null);

        Assert.Equal(0, sampler.PositionOf(new DataPlace(0, 7)));
        Assert.Equal(1, sampler.PositionOf(new DataPlace(0, 8)));
        Assert.Equal(4, sampler.PositionOf(new DataPlace(1, 8)));
        Assert.Equal(3, sampler.PositionOf(new DataPlace(0, 1000)));
    }

    [Fact]
    public void Indices_NoFullMicroBatchAndRestDropped_SaysWhatToChange()
    {
        var sampler = new EpochSampler(10, 8, 0, 2, null, dropLast: true);

        Assert.Equal(0, sampler.BatchesPerEpoch);
        Assert.Contains("dataloader_drop_last", Assert.Throws<InvalidOperationException>(() => sampler.Indices(0)).Message,
            StringComparison.Ordinal);
    }

    private static IEnumerable<long> Epoch(EpochSampler sampler, long epoch) => Enumerable.Range(0, (int)sampler.BatchesPerEpoch)
        .SelectMany(i => sampler.Indices(epoch * sampler.BatchesPerEpoch + i));
}

using DeepSpeedSharp.Config;
using DeepSpeedSharp.Engine.Comm.Recording;
using DeepSpeedSharp.Engine.Comm.Store;
using Microsoft.Extensions.Time.Testing;
using TorchSharp;

namespace DeepSpeedSharp.Engine.Tests.Comm;

public sealed class FlightRecorderTests
{
    [Fact]
    public void Entries_MoreThanTheRingHolds_KeepsTheLastInOrder()
    {
        var recorder = new FlightRecorder(3, capacity: 4);
        FlightGroup group = recorder.Group("world", [0, 1]);

        for (int i = 1; i <= 10; i++)
        {
            group.RecordEnd(group.RecordStart("AllReduce", $"bucket {i}", i, torch.ScalarType.Float32));
        }

        Assert.Equal([7, 8, 9, 10], recorder.Entries().Select(entry => entry.Sequence));
        Assert.Equal(["bucket 7", "bucket 8", "bucket 9", "bucket 10"], recorder.Entries().Select(entry => entry.Name));
    }

    [Fact]
    public void RecordEnd_EntryWasOverwritten_LeavesTheNewerOneOpen()
    {
        var recorder = new FlightRecorder(0, capacity: 1);
        FlightGroup group = recorder.Group("world", [0, 1]);
        long first = group.RecordStart("AllReduce", "first", 1, null);
        group.RecordStart("AllReduce", "second", 1, null);

        group.RecordEnd(first);

        Assert.Null(Assert.Single(recorder.Entries()).Ended);
    }

    [Fact]
    public void Progress_SeveralOpen_TellsTheOldestPerGroupAndHowLong()
    {
        var clock = new FakeTimeProvider();
        var recorder = new FlightRecorder(0, 16, clock) { Step = 5 };
        FlightGroup world = recorder.Group("world", [0, 1, 2]);
        FlightGroup pair = recorder.Group("pair", [0, 1]);
        world.RecordEnd(world.RecordStart("Broadcast", "weights", 1, null));
        world.RecordStart("AllReduce", "bucket 1", 1, null);
        clock.Advance(TimeSpan.FromSeconds(3));
        world.RecordStart("AllReduce", "bucket 2", 1, null);
        pair.RecordPeer("Send", "activations", 1, null, peer: 1);
        clock.Advance(TimeSpan.FromSeconds(1));

        RankProgress progress = recorder.Progress();

        Assert.Equal(5, progress.Step);
        Assert.Equal((3, 2, 4), (progress.Groups[0].Entered, progress.Groups[0].WaitingIn, progress.Groups[0].Waited.TotalSeconds));
        Assert.Equal((0, 0), (progress.Groups[1].Entered, progress.Groups[1].WaitingIn));
        Assert.Contains("Send of activations", progress.LastCollective, StringComparison.Ordinal);
    }

    [Fact]
    public void Record_AfterTheFirstRound_AllocatesNothing()
    {
        var recorder = new FlightRecorder(0, capacity: 64);
        FlightGroup group = recorder.Group("world", [0, 1]);
        Round(group);

        long before = GC.GetAllocatedBytesForCurrentThread();
        Round(group);
        long after = GC.GetAllocatedBytesForCurrentThread();

        Assert.Equal(0, after - before);

        static void Round(FlightGroup group)
        {
            for (int i = 0; i < 1000; i++)
            {
                group.RecordEnd(group.RecordStart("AllReduce", "bucket", 1, torch.ScalarType.Float32));
            }
        }
    }

    [Fact]
    public void Describe_OneRankBehind_NamesItAndTheCollective()
    {
        FlightDump[] dumps = [.. Enumerable.Range(0, 3).Select(rank => Dump(rank, rank == 1 ? 2 : 4, "AllReduce"))];

        string finding = Assert.Single(FlightAnalysis.Describe(dumps));

        Assert.Contains("rank 1 on", finding, StringComparison.Ordinal);
        Assert.Contains("did not enter AllReduce of bucket 3 (12 bytes), number 3 of group world, which ranks 0, 2 entered", finding, StringComparison.Ordinal);
    }

    [Fact]
    public void Describe_RanksThatCalledDifferentCollectives_NamesTheFirstDifference()
    {
        string finding = Assert.Single(FlightAnalysis.Describe([Dump(0, 4, "AllReduce"), Dump(1, 4, "Broadcast"), Dump(2, 4, "AllReduce")]));

        Assert.Contains("number 1 of group world was Broadcast of bucket 1", finding, StringComparison.Ordinal);
    }

    [Fact]
    public void Describe_AllEqual_HasNoFindings() =>
        Assert.Empty(FlightAnalysis.Describe([Dump(0, 4, "AllReduce"), Dump(1, 4, "AllReduce"), Dump(2, 4, "AllReduce")]));

    [Fact]
    public void Parse_DumpAsJson_IsTheSameDump()
    {
        FlightDump dump = Dump(2, 3, "AllReduce");

        FlightDump parsed = FlightDump.Parse(dump.ToJson());

        Assert.Equal(dump.Collectives, parsed.Collectives);
        Assert.Equal(dump.ToText(), parsed.ToText());
    }

    [Fact]
    public void Read_WrongSettings_AreNamedAllAtOnce()
    {
        var values = new Dictionary<string, string>
        {
            ["DEEPSPEED_HEARTBEAT_INTERVAL"] = "soon",
            ["DEEPSPEED_HEARTBEAT_TIMEOUT"] = "0.1",
            ["DEEPSPEED_FLIGHT_RECORDER_SIZE"] = "-1",
            ["DEEPSPEED_SECRET_FILE"] = "/nowhere/secret",
        };

        var error = Assert.Throws<ConfigException>(() => StoreOptions.Read(name => values.GetValueOrDefault(name), TimeSpan.FromMinutes(10)));

        Assert.All(values.Keys.Where(name => name != "DEEPSPEED_HEARTBEAT_TIMEOUT"),
            name => Assert.Contains(name, error.Message, StringComparison.Ordinal));
    }

    [Fact]
    public void Read_ShortTimeout_HeartbeatsFollowIt()
    {
        StoreOptions options = StoreOptions.Read(_ => null, TimeSpan.FromSeconds(6));
        StoreOptions usual = StoreOptions.Read(_ => null, TimeSpan.FromMinutes(10));

        Assert.Equal((1, 6), (options.HeartbeatInterval.TotalSeconds, options.HeartbeatTimeout.TotalSeconds));
        Assert.Equal((1, 15), (usual.HeartbeatInterval.TotalSeconds, usual.HeartbeatTimeout.TotalSeconds));
    }

    [Fact]
    public void Read_SecretFile_IsReadWithoutTheNewline()
    {
        string file = Path.GetTempFileName();
        try
        {
            File.WriteAllText(file, "s3cret\n");

            StoreOptions options = StoreOptions.Read(name => name == "DEEPSPEED_SECRET_FILE" ? file : null, TimeSpan.FromMinutes(10));

            Assert.Equal("s3cret"u8.ToArray(), options.Secret.ToArray());
        }
        finally
        {
            File.Delete(file);
        }
    }

    private static FlightDump Dump(int rank, int entered, string operation)
    {
        var recorder = new FlightRecorder(rank);
        FlightGroup group = recorder.Group("world", [0, 1, 2]);
        for (int i = 1; i <= entered; i++)
        {
            group.RecordEnd(group.RecordStart(operation, $"bucket {i}", 4 * i, torch.ScalarType.Float32));
        }

        return FlightDump.Of(recorder);
    }
}

using System.Net.Sockets;
using System.Text.Json;
using DeepSpeedSharp.Engine.Comm;
using DeepSpeedSharp.Engine.Comm.Recording;
using DeepSpeedSharp.Engine.Comm.Store;
using DeepSpeedSharp.Engine.Comm.Transport;
using TorchSharp;

namespace DeepSpeedSharp.Engine.Tests.Comm;

public sealed class LostRankTests
{
    private static readonly StoreOptions Impatient = Stores.Quick with { HeartbeatTimeout = TimeSpan.FromSeconds(2) };

    [Fact]
    public async Task Lost_RankDies_EveryOtherNamesItAndRequestsFail()
    {
        (TcpStore[] stores, Socket ghost) = await WithGhostAsync(4, Stores.Quick);
        Task<byte[]> waiting = Task.Run(() => stores[1].Get("never", Stores.Long));

        ghost.Dispose();
        PeerLostException[] lost = await LostAsync(stores);

        Assert.All(lost, error => Assert.Equal(3, error.Rank));
        Assert.All(lost, error => Assert.Equal("127.0.0.1", error.Host));
        Assert.All(lost, error => Assert.Contains("lost rank 3 at 127.0.0.1", error.Message, StringComparison.Ordinal));
        Assert.Equal(3, (await Assert.ThrowsAsync<PeerLostException>(() => waiting)).Rank);
        Assert.Equal(3, Assert.Throws<PeerLostException>(() => stores[2].Set("key", [])).Rank);
        Stores.Close(stores);
    }

    [Fact]
    public async Task Lost_RankFallsSilent_IsNamedByItsHeartbeat()
    {
        (TcpStore[] stores, Socket ghost) = await WithGhostAsync(3, Impatient);

        PeerLostException[] lost = await LostAsync(stores);

        Assert.All(lost, error => Assert.Equal([2], error.Ranks));
        Assert.All(lost, error => Assert.Contains("no heartbeat for 2 s", error.Message, StringComparison.Ordinal));
        ghost.Dispose();
        Stores.Close(stores);
    }

    [Fact]
    public async Task Lost_RankDoesNotEnterACollective_IsNamedWithWhatItDidLast()
    {
        TcpStore[] stores = await Stores.OpenAsync(3, timeout: TimeSpan.FromSeconds(3));
        FlightGroup[] groups = [.. stores.Select(store => store.Recorder.Group("world", [0, 1, 2]))];
        foreach ((TcpStore store, FlightGroup group) in stores.Zip(groups))
        {
            store.Recorder.Step = 11;
            group.RecordEnd(group.RecordStart("AllReduce", "gradient bucket 6", 4096, torch.ScalarType.Float32));
        }

        groups[0].RecordStart("AllReduce", "gradient bucket 7", 1024, torch.ScalarType.Float32);
        groups[2].RecordStart("AllReduce", "gradient bucket 7", 1024, torch.ScalarType.Float32);
        PeerLostException[] lost = await LostAsync(stores);

        Assert.All(lost, error => Assert.Equal([1], error.Ranks));
        Assert.All(lost, error => Assert.Equal(11, error.Step));
        Assert.All(lost, error => Assert.Contains("gradient bucket 6", error.LastCollective, StringComparison.Ordinal));
        Assert.All(lost, error => Assert.Contains("for 3 s in AllReduce of gradient bucket 7 (1024 bytes), number 2 of group world",
            error.Message, StringComparison.Ordinal));
        Stores.Close(stores);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task AllReduce_OneRankHangsInComputation_AllOthersNameIt(bool sharesMemory)
    {
        int port = TestPorts.Free();
        ProcessGroup[] groups = await Task.WhenAll(Enumerable.Range(0, 4).Select(rank => Task.Run(() => GroupFactory.CreateWorldAsync(
            Stores.Place(rank, 4, port), TimeSpan.FromSeconds(5), new LinkOptions { SharesMemory = sharesMemory, Streams = 1 }))));

        PeerLostException[] lost = await Task.WhenAll(new[] { 0, 1, 3 }.Select(rank => Task.Factory.StartNew(() =>
        {
            using torch.Tensor values = torch.ones(1000);
            return Assert.Throws<PeerLostException>(() => groups[rank].AllReduce(values, name: "gradient bucket 7"));
        }, CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default)));

        Assert.All(lost, error => Assert.Equal(2, error.Rank));
        Assert.All(lost, error => Assert.Contains("not entered a collective that others wait for", error.Message, StringComparison.Ordinal));
        Array.ForEach(groups, group => group.Dispose());
    }

    [Fact]
    public async Task Lost_RankLeavesWhileOthersWait_IsNamed()
    {
        TcpStore[] stores = await Stores.OpenAsync(2);
        FlightGroup[] groups = [.. stores.Select(store => store.Recorder.Group("world", [0, 1]))];

        groups[0].RecordStart("Barrier", "end", 0, null);
        stores[1].Dispose();
        PeerLostException lost = await stores[0].Lost.WaitAsync(Stores.Long, TestContext.Current.CancellationToken);

        Assert.Equal(1, lost.Rank);
        Assert.Contains("left the run, but rank 0 waits in Barrier of end", lost.Message, StringComparison.Ordinal);
        stores[0].Dispose();
    }

    [Fact]
    public async Task ReportFailure_AccusedRankLives_ReporterAndOthersGetTheReport()
    {
        TcpStore[] stores = await Stores.OpenAsync(3);

        PeerLostException verdict = stores[2].ReportFailure(new PeerLostException(1, "AllReduce of x, rank 2: lost rank 1: the connection ended"));
        PeerLostException[] lost = await LostAsync(stores);

        Assert.All([.. lost, verdict], error => Assert.Equal(1, error.Rank));
        Assert.Contains("rank 2 reports: AllReduce of x", lost[0].Message, StringComparison.Ordinal);
        Stores.Close(stores);
    }

    [Fact]
    public async Task ReportFailure_AnotherRankWentFirst_TheVerdictNamesThatOne()
    {
        (TcpStore[] stores, Socket ghost) = await WithGhostAsync(3, Stores.Quick);
        ghost.Dispose();

        // Rank 1 sees only that rank 0 broke off, which did so because of rank 2.
        PeerLostException verdict = await Task.Run(() => stores[1].ReportFailure(new PeerLostException(0, "the connection ended")),
            TestContext.Current.CancellationToken);

        Assert.Equal(2, verdict.Rank);
        Stores.Close(stores);
    }

    [Fact]
    public async Task Lost_StoreItselfGoes_OthersNameRankZero()
    {
        // A store that ends without a word: it refuses nobody, and is gone.
        int port = TestPorts.Free();
        using Socket listener = MasterEndpoint.Listen(System.Net.IPAddress.Loopback, port);
        Task<TcpStore> joining = Stores.JoinAsync(Stores.Place(1, 2, port));
        Socket server = await listener.AcceptAsync(TestContext.Current.CancellationToken);
        var hello = StoreHello.Decode(Read(server));
        byte[] nonce = new byte[32];
        server.Send(StoreFrame.Encode(FrameKind.Challenge, 0, new FieldWriter().Bytes(nonce).Bytes(StoreProof.OfServer([], hello, nonce)).ToArray()));
        Assert.Equal(StoreProof.OfRank([], hello, nonce), Read(server));
        server.Send(StoreFrame.Encode(FrameKind.Accepted, 0, new byte[32]));
        server.Send(StoreFrame.Encode(FrameKind.Ready, 0, new FieldWriter().List(["127.0.0.1", "127.0.0.1"], (fields, host) => fields.Text(host)).ToArray()));
        using TcpStore store = await joining;

        server.Dispose();
        PeerLostException lost = await store.Lost.WaitAsync(Stores.Long, TestContext.Current.CancellationToken);

        Assert.Equal(0, lost.Rank);
        Assert.Contains($"lost rank 0 at 127.0.0.1:{port}", lost.Message, StringComparison.Ordinal);

        static byte[] Read(Socket socket)
        {
            var buffer = new FrameBuffer();
            StoreFrame frame;
            while (!buffer.TryTake(out frame))
            {
                buffer.Received(socket.Receive(buffer.Free()));
            }

            return frame.Body;
        }
    }

    [Fact]
    public async Task Lost_DumpFolder_HasEveryRanksRecorderAndWhatTheySayTogether()
    {
        string folder = Directory.CreateTempSubdirectory("flight-").FullName;
        try
        {
            (TcpStore[] stores, Socket ghost) = await WithGhostAsync(3, Stores.Quick with { DumpFolder = folder });
            foreach (TcpStore store in stores)
            {
                FlightGroup group = store.Recorder.Group("world", [0, 1, 2]);
                group.RecordEnd(group.RecordStart("Broadcast", "weights", 8, torch.ScalarType.BFloat16));
            }

            stores[0].Recorder.Group("world", []).RecordStart("AllReduce", "gradient bucket 0", 8, torch.ScalarType.BFloat16);
            ghost.Dispose();
            await LostAsync(stores);

            using JsonDocument all = JsonDocument.Parse(File.ReadAllText(Path.Combine(folder, "flight-recorder.json")));
            using JsonDocument one = JsonDocument.Parse(File.ReadAllText(Path.Combine(folder, "flight-recorder-rank-1.json")));
            string findings = all.RootElement.GetProperty("findings").ToString();
            Assert.Contains("rank 1 on", findings, StringComparison.Ordinal);
            Assert.Contains("did not enter AllReduce of gradient bucket 0", findings, StringComparison.Ordinal);
            Assert.Contains("no dump of rank 2", findings, StringComparison.Ordinal);
            Assert.Equal("Broadcast", one.RootElement.GetProperty("collectives")[0].GetProperty("operation").GetString());
            Stores.Close(stores);
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    // The last rank of the world is a ghost.
    private static async Task<(TcpStore[] Stores, Socket Ghost)> WithGhostAsync(int worldSize, StoreOptions options)
    {
        int port = TestPorts.Free();
        Task<TcpStore>[] joining = [.. Enumerable.Range(0, worldSize - 1).Select(rank => Stores.JoinAsync(Stores.Place(rank, worldSize, port), options))];
        Socket ghost = await Stores.GhostAsync(Stores.Place(worldSize - 1, worldSize, port), options);
        return (await Task.WhenAll(joining), ghost);
    }

    private static Task<PeerLostException[]> LostAsync(IEnumerable<TcpStore> stores) =>
        Task.WhenAll(stores.Select(store => store.Lost)).WaitAsync(Stores.Long);
}

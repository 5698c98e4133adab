using System.Net;
using System.Net.Sockets;
using System.Text;
using DeepSpeedSharp.Engine.Comm;
using DeepSpeedSharp.Engine.Comm.Store;

namespace DeepSpeedSharp.Engine.Tests.Comm;

public sealed class StoreTests
{
    private static readonly TimeSpan Short = TimeSpan.FromSeconds(0.3);

    [Theory]
    [InlineData("127.0.0.1")]
    [InlineData("::1")]
    [InlineData("[::1]")]
    [InlineData("localhost")]
    public async Task Set_AnyRank_AllReadIt(string address)
    {
        Assert.SkipWhen(address.Contains("::", StringComparison.Ordinal) && !Socket.OSSupportsIPv6, "this machine has no IPv6");
        TcpStore[] stores = await Stores.OpenAsync(3, address: address);

        stores[2].Set("key", "value"u8);
        string[] read = [.. stores.Select(store => Encoding.UTF8.GetString(store.Get("key", Stores.Long)))];

        Assert.Equal(["value", "value", "value"], read);
        Assert.Equal(3, stores[1].Hosts.Count);
        Stores.Close(stores);
    }

    [Fact]
    public async Task Get_KeyThatComesLater_WaitsForIt()
    {
        TcpStore[] stores = await Stores.OpenAsync(2);
        Task<byte[]> waiting = Task.Run(() => stores[1].Get("later", Stores.Long), TestContext.Current.CancellationToken);
        Task waitingForTwo = Task.Run(() => stores[1].Wait(["later", "last"], Stores.Long), TestContext.Current.CancellationToken);

        bool early = stores[0].TryGet("later", out _);
        stores[0].Set("later", [7]);
        byte[] value = await waiting;
        bool twoEarly = waitingForTwo.IsCompleted;
        stores[0].Set("last", []);
        await waitingForTwo;

        Assert.False(early);
        Assert.False(twoEarly);
        Assert.Equal([7], value);
        Stores.Close(stores);
    }

    [Fact]
    public async Task Get_KeyThatNeverComes_NamesItAndTheStoreGoesOn()
    {
        TcpStore[] stores = await Stores.OpenAsync(2);

        var error = Assert.Throws<TimeoutException>(() => stores[1].Get("id of group 3", Short));
        var several = Assert.Throws<TimeoutException>(() => stores[1].Wait(["a", "b"], Short));
        stores[0].Set("id of group 3", [1]);

        Assert.Contains("\"id of group 3\" within 0.3 s", error.Message, StringComparison.Ordinal);
        Assert.Contains("\"a\", \"b\"", several.Message, StringComparison.Ordinal);
        Assert.Equal([1], stores[1].Get("id of group 3", Stores.Long));
        Stores.Close(stores);
    }

    [Fact]
    public async Task Add_AllRanksFromManyThreads_EveryCallerGetsAnotherSum()
    {
        TcpStore[] stores = await Stores.OpenAsync(3);

        long[] sums = await Task.WhenAll(Enumerable.Range(0, 300).Select(i => Task.Run(() => stores[i % 3].Add("ticket", 1))));

        Assert.Equal(Enumerable.Range(1, 300).Select(i => (long)i), sums.Order());
        Assert.Equal("300", Encoding.ASCII.GetString(stores[0].Get("ticket", Short)));
        stores[0].Set("text", "no number"u8);
        Assert.Throws<InvalidOperationException>(() => stores[1].Add("text", 1));
        Stores.Close(stores);
    }

    [Fact]
    public async Task CompareSet_AllRanksAtOnce_OneWins()
    {
        TcpStore[] stores = await Stores.OpenAsync(3);

        byte[][] leaders = await Task.WhenAll(stores.Select((store, rank) => Task.Run(() => store.CompareSet("leader", [], [(byte)(rank + 1)]))));
        byte[] kept = stores[0].CompareSet("leader", [99], [98]);

        Assert.Single(leaders.Select(leader => leader[0]).Distinct());
        Assert.Equal(leaders[0], kept);
        Assert.Equal([50], stores[0].CompareSet("leader", kept, [50]));
        Assert.Empty(stores[0].CompareSet("nobody", [1], [2]));
        Assert.True(stores[1].Delete("leader"));
        Assert.False(stores[1].Delete("leader"));
        Stores.Close(stores);
    }

    [Fact]
    public async Task Barrier_AllCome_OpensAndCanBeUsedAgain()
    {
        TcpStore[] stores = await Stores.OpenAsync(3);
        int arrived = 0;

        int[] seen = await Task.WhenAll(stores.Select(store => Task.Run(() =>
        {
            Interlocked.Increment(ref arrived);
            store.Barrier("epoch", [0, 1, 2], Stores.Long);
            int all = Volatile.Read(ref arrived);
            store.Barrier("epoch", [0, 1, 2], Stores.Long);
            return all;
        })));

        Assert.Equal([3, 3, 3], seen);
        Stores.Close(stores);
    }

    [Fact]
    public async Task Barrier_SomeDoNotCome_NamesThem()
    {
        TcpStore[] stores = await Stores.OpenAsync(4);

        var error = Assert.Throws<TimeoutException>(() => stores[1].Barrier("save", [0, 1, 2, 3], Short));

        Assert.Contains("barrier \"save\", rank 1: ranks 0, 2, 3 of 0, 1, 2, 3 did not come within 0.3 s", error.Message, StringComparison.Ordinal);
        Stores.Close(stores);
    }

    [Fact]
    public async Task Set_LongestValue_ArrivesAndALongerOneIsRefused()
    {
        TcpStore[] stores = await Stores.OpenAsync(2);
        var value = new byte[TcpStore.LongestValue];
        new Random(1).NextBytes(value);

        stores[1].Set("large", value);

        Assert.Equal(value, stores[0].Get("large", Stores.Long));
        Assert.Throws<ArgumentException>(() => stores[1].Set("larger", new byte[TcpStore.LongestValue + 1]));
        Assert.Throws<ArgumentException>(() => stores[1].Set(new string('k', 1025), []));
        Stores.Close(stores);
    }

    [Fact]
    public async Task Set_MoreThanTheStoreHolds_IsRefusedWithTheKeysName()
    {
        TcpStore[] stores = await Stores.OpenAsync(1);
        var value = new byte[TcpStore.LongestValue];

        var error = Assert.Throws<InvalidOperationException>(() =>
        {
            for (int i = 0; i < 17; i++)
            {
                stores[0].Set($"part {i}", value);
            }
        });
        stores[0].Delete("part 0");
        stores[0].Set("part 15", value);

        Assert.Contains("\"part 15\"", error.Message, StringComparison.Ordinal);
        Assert.Contains("delete keys", error.Message, StringComparison.Ordinal);
        Stores.Close(stores);
    }

    [Fact]
    public async Task Connect_SameSecret_Joins_OtherOrNoSecretIsRefused()
    {
        int port = TestPorts.Free();
        StoreOptions secret = Stores.Quick with { Secret = "the secret of this job"u8.ToArray() };
        Task<TcpStore> zero = Stores.JoinAsync(Stores.Place(0, 2, port), secret);

        var other = await Assert.ThrowsAsync<PeerLostException>(() =>
            Stores.JoinAsync(Stores.Place(1, 2, port), Stores.Quick with { Secret = "another"u8.ToArray() }));
        var none = await Assert.ThrowsAsync<PeerLostException>(() => Stores.JoinAsync(Stores.Place(1, 2, port)));
        TcpStore one = await Stores.JoinAsync(Stores.Place(1, 2, port), secret);

        Assert.All(new[] { other, none }, error => Assert.Contains("secret", error.Message, StringComparison.Ordinal));
        Assert.Equal((await zero).SessionKey.ToArray(), one.SessionKey.ToArray());
        Assert.DoesNotContain("the secret", secret.ToString(), StringComparison.Ordinal);
        Stores.Close([await zero, one]);
    }

    [Fact]
    public async Task Connect_StrangerWhoOnlyGuessesTheProof_LearnsNothingOfTheRun()
    {
        int port = TestPorts.Free();
        StoreOptions secret = Stores.Quick with { Secret = "the secret of this job"u8.ToArray() };
        Task<TcpStore> zero = Stores.JoinAsync(Stores.Place(0, 2, port), secret);
        StoreHello hello = StoreHello.From(Stores.Place(1, 2, port) with { RunId = "guess" });

        using Socket socket = await Connect(port);
        socket.Send(StoreFrame.Encode(FrameKind.Hello, 0, hello.Encode()));
        socket.Send(StoreFrame.Encode(FrameKind.Proof, 0, new byte[32]));
        var heard = new List<byte>();
        var buffer = new byte[4096];
        for (int count; (count = socket.Receive(buffer)) > 0;)
        {
            heard.AddRange(buffer[..count]);
        }

        string text = Encoding.Latin1.GetString([.. heard]);
        Assert.DoesNotContain("job/2", text, StringComparison.Ordinal);
        Assert.Contains("does not know the secret", text, StringComparison.Ordinal);
        Stores.Close([await Stores.JoinAsync(Stores.Place(1, 2, port), secret), await zero]);
    }

    [Fact]
    public async Task Connect_RankThatIsThereAlready_IsRefused()
    {
        int port = TestPorts.Free();
        TcpStore[] stores = await Task.WhenAll(Stores.JoinAsync(Stores.Place(0, 2, port)), Stores.JoinAsync(Stores.Place(1, 2, port)));

        var error = await Assert.ThrowsAsync<PeerLostException>(() => Stores.JoinAsync(Stores.Place(1, 2, port)));

        Assert.Contains("rank 1 is here already, from 127.0.0.1", error.Message, StringComparison.Ordinal);
        Assert.False(stores[0].Lost.IsCompleted);
        Stores.Close(stores);
    }

    [Fact]
    public async Task Connect_RankStartedAgainBeforeAllHaveCome_TheNewerOneCounts()
    {
        int port = TestPorts.Free();
        Task<TcpStore> zero = Stores.JoinAsync(Stores.Place(0, 3, port));
        using Socket earlier = await Stores.GhostAsync(Stores.Place(1, 3, port));
        Task<TcpStore> one = Stores.JoinAsync(Stores.Place(1, 3, port));
        var farewell = new byte[1024];
        int length = await earlier.ReceiveAsync(farewell, TestContext.Current.CancellationToken);
        TcpStore[] stores = await Task.WhenAll(zero, one, Stores.JoinAsync(Stores.Place(2, 3, port)));

        Assert.Contains("another process came as rank 1", Encoding.UTF8.GetString(farewell.AsSpan(0, length)), StringComparison.Ordinal);
        Assert.False(stores[0].Lost.IsCompleted);
        Stores.Close(stores);
    }

    [Fact]
    public async Task Connect_SomebodyMissing_EveryRankNamesIt()
    {
        int port = TestPorts.Free();
        TimeSpan limit = TimeSpan.FromSeconds(2);
        Task<TcpStore> one = Stores.JoinAsync(Stores.Place(1, 4, port), timeout: Stores.Long);
        Task<TcpStore> three = Stores.JoinAsync(Stores.Place(3, 4, port), timeout: limit / 2);

        PeerLostException[] errors = await Task.WhenAll(
            Assert.ThrowsAsync<PeerLostException>(() => Stores.JoinAsync(Stores.Place(0, 4, port), timeout: limit)),
            Assert.ThrowsAsync<PeerLostException>(() => one));

        Assert.All(errors, error => Assert.Contains(2, error.Ranks));
        Assert.All(errors, error => Assert.Contains("did not come within 2 s", error.Message, StringComparison.Ordinal));
        await Assert.ThrowsAsync<PeerLostException>(() => three);
    }

    [Fact]
    public async Task Dispose_RankZeroFirst_OthersAreToldAndNotAlarmed()
    {
        TcpStore[] stores = await Stores.OpenAsync(2);

        stores[0].Dispose();
        var error = Assert.Throws<PeerLostException>(() => stores[1].Get("key", Stores.Long));

        Assert.Contains("has left the run", error.Message, StringComparison.Ordinal);
        Assert.False(stores[1].Lost.IsCompleted);
        stores[1].Dispose();
    }

    internal static async Task<Socket> Connect(int port)
    {
        while (true)
        {
            var socket = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
            try
            {
                await socket.ConnectAsync(IPAddress.Loopback, port);
                return socket;
            }
            catch (SocketException)
            {
                socket.Dispose();
                await Task.Delay(20);
            }
        }
    }
}

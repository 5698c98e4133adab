using System.Buffers.Binary;
using System.Net.Sockets;
using System.Security.Cryptography;
using DeepSpeedSharp.Engine.Comm;
using DeepSpeedSharp.Engine.Comm.Store;
using DeepSpeedSharp.Engine.Comm.Transport;
using TorchSharp;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine.Tests.Comm;

/// <summary>Ports are reachable by other pods: whatever comes there must neither disturb the run nor fill the memory.</summary>
[Collection(nameof(AloneTests))]
public sealed class StoreFuzzTests
{
    private const int LargestGrowth = 64 << 20;

    [Fact]
    public void TryTake_RandomBytes_TakesFramesOrRefusesAndNeverGrowsByAPromise()
    {
        var random = new Random(5);
        for (int round = 0; round < 2000; round++)
        {
            var buffer = new FrameBuffer { LongestBody = round % 2 == 0 ? StoreFrame.LongestGreeting : StoreFrame.LongestBody };
            try
            {
                for (int i = 0; i < 50; i++)
                {
                    Span<byte> free = buffer.Free();
                    Assert.True(free.Length is > 0 and <= 1 << 16);
                    int count = random.Next(1, Math.Min(free.Length, 300));
                    random.NextBytes(free[..count]);
                    if (round % 3 == 0 && free.Length >= sizeof(int))
                    {
                        BinaryPrimitives.WriteInt32LittleEndian(free, random.Next(0, 2000)); // often a possible length
                    }

                    buffer.Received(count);
                    while (buffer.TryTake(out StoreFrame frame))
                    {
                        Assert.True(frame.Body.Length <= buffer.LongestBody);
                    }
                }
            }
            catch (InvalidDataException)
            {
                // Refused, as it should be.
            }
        }
    }

    [Fact]
    public void TryTake_FramesInPieces_ArriveWhole()
    {
        var random = new Random(7);
        byte[][] bodies = [.. Enumerable.Range(0, 200).Select(i => RandomNumberGenerator.GetBytes(random.Next(0, i % 20 == 0 ? 100_000 : 300)))];
        byte[] stream = [.. bodies.SelectMany((body, i) => StoreFrame.Encode(FrameKind.Set, (uint)i, body))];
        var buffer = new FrameBuffer { LongestBody = StoreFrame.LongestBody };
        var taken = new List<byte[]>();

        for (int at = 0; at < stream.Length;)
        {
            Span<byte> free = buffer.Free();
            int count = Math.Min(Math.Min(free.Length, random.Next(1, 5000)), stream.Length - at);
            stream.AsSpan(at, count).CopyTo(free);
            buffer.Received(count);
            at += count;
            while (buffer.TryTake(out StoreFrame frame))
            {
                Assert.Equal((uint)taken.Count, frame.Id);
                taken.Add(frame.Body);
            }
        }

        Assert.Equal(bodies, taken);
    }

    [Fact]
    public void Decode_RandomBytes_ReadsOrRefuses()
    {
        var random = new Random(11);
        byte[][] good = [new Verdict([1, 2], "host", "AllReduce", 3, "why").Encode(), StoreHello.From(Stores.Place(0, 2, 1)).Encode()];
        for (int round = 0; round < 20_000; round++)
        {
            byte[] body;
            if (round % 2 == 0)
            {
                body = new byte[random.Next(0, 200)];
                random.NextBytes(body);
            }
            else
            {
                body = [.. good[round / 2 % 2]];
                body[random.Next(body.Length)] ^= (byte)random.Next(1, 256);
                body = body[..random.Next(body.Length + 1)];
            }

            foreach (Action<byte[]> decode in (Action<byte[]>[])[b => Verdict.Decode(b), b => StoreHello.Decode(b), b => ProgressFrame.Decode(b)])
            {
                try
                {
                    decode(body);
                }
                catch (InvalidDataException)
                {
                    // Refused.
                }
            }
        }
    }

    [Fact]
    public async Task Store_UnderAttackByStrangers_TheRunGoesOnAndMemoryIsBounded()
    {
        int port = TestPorts.Free();
        StoreOptions options = Stores.Quick with { HandshakeTimeout = TimeSpan.FromSeconds(1.5), Secret = "known to the ranks only"u8.ToArray() };
        TcpStore[] stores = await Task.WhenAll(Enumerable.Range(0, 3).Select(rank => Stores.JoinAsync(Stores.Place(rank, 3, port), options)));
        using var stop = new CancellationTokenSource();
        long before = GC.GetTotalMemory(forceFullCollection: true);

        Task attack = Task.Run(() => AttackAsync(port, stop), TestContext.Current.CancellationToken);
        long[] sums = await Task.WhenAll(stores.Select((store, rank) => Task.Run(() =>
        {
            long sum = 0;
            for (int i = 0; !stop.IsCancellationRequested || i < 50; i++)
            {
                sum = store.Add("steps", 1);
                store.Set($"value of {rank}", BitConverter.GetBytes(i));
                Assert.Equal(i, BitConverter.ToInt32(store.Get($"value of {rank}", Stores.Long)));
            }

            return sum;
        }, TestContext.Current.CancellationToken)));
        await attack;
        stores[0].Barrier("end", [0], Stores.Long);
        long grown = GC.GetTotalMemory(forceFullCollection: true) - before;

        Assert.All(stores, store => Assert.False(store.Lost.IsCompleted, "a stranger ended the run"));
        Assert.True(sums.Max() >= 150);
        Assert.True(grown < LargestGrowth, $"{grown} bytes more than before");
        Stores.Close(stores);
    }

    [Fact]
    public async Task Collectives_StoreUnderAttack_SumsAreRight()
    {
        int port = TestPorts.Free();
        var options = new LinkOptions { SharesMemory = false, Streams = 2 };
        Task<ProcessGroup>[] joining = [.. Enumerable.Range(0, 3).Select(rank => Task.Run(
            () => GroupFactory.CreateWorldAsync(Stores.Place(rank, 3, port), Stores.Long, options)))];
        using var trained = new CancellationTokenSource();
        Task<int> attack = Task.Run(async () => // before they are linked, and while they train
        {
            int attacks = 0;
            for (; !trained.IsCancellationRequested; attacks++)
            {
                using var done = new CancellationTokenSource();
                await AttackAsync(port, done);
            }

            return attacks;
        }, TestContext.Current.CancellationToken);
        ProcessGroup[] groups = await Task.WhenAll(joining);

        await Task.WhenAll(groups.Select((group, rank) => Task.Factory.StartNew(() =>
        {
            for (int round = 0; round < 300; round++)
            {
                using Tensor values = full(1000, rank + round + 1f);
                group.AllReduce(values);
                using Tensor sum = values.sum();
                Assert.Equal(1000f * (6 + 3 * round), sum.ToSingle());
            }
        }, CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default)));
        await trained.CancelAsync();

        Assert.True(await attack > 0);
        foreach (ProcessGroup group in groups.Reverse())
        {
            group.Dispose();
        }
    }

    [Fact]
    public async Task Connect_LinksUnderAttackByStrangers_RanksAreLinked()
    {
        using Socket listener = MasterEndpoint.Listen(System.Net.IPAddress.Loopback, 0);
        int port = ((System.Net.IPEndPoint)listener.LocalEndPoint!).Port;
        byte[] key = RandomNumberGenerator.GetBytes(32);
        using var stop = new CancellationTokenSource();
        using var limit = new CancellationTokenSource(Stores.Long);
        using var lower = new TcpConnections(0, "world", key, 2);
        using var higher = new TcpConnections(1, "world", key, 2);
        using var wrong = new TcpConnections(1, "world", RandomNumberGenerator.GetBytes(32), 2);

        Task accepting = lower.ConnectAsync(listener, [1], _ => listener.LocalEndPoint!, limit.Token);
        await AttackAsync(port, stop);
        using Socket unused = MasterEndpoint.Listen(System.Net.IPAddress.Loopback, 0);
        await wrong.ConnectAsync(unused, [0], _ => listener.LocalEndPoint!, limit.Token); // it sends its greeting, and is not taken
        Assert.False(accepting.IsCompleted);
        await higher.ConnectAsync(unused, [0], _ => listener.LocalEndPoint!, limit.Token);
        await accepting;

        Assert.Empty(lower.Missing);
    }

    [Fact]
    public async Task Store_HundredsOfIdleConnections_AreLimitedAndCutOff()
    {
        int port = TestPorts.Free();
        using Socket listener = MasterEndpoint.Listen(System.Net.IPAddress.Loopback, port);
        StoreOptions options = Stores.Quick with { HandshakeTimeout = TimeSpan.FromSeconds(2) };
        using var server = new StoreServer(listener, Stores.Place(0, 2, port), Stores.Long, options, new(0));

        Socket[] idle = [.. await Task.WhenAll(Enumerable.Range(0, 600).Select(_ => StoreTests.Connect(port)))];
        await UntilAsync(() => server.Connections > 0);
        bool limited = server.Connections <= 256;
        await UntilAsync(() => server.Connections == 0);

        Assert.True(limited);
        Array.ForEach(idle, socket => socket.Dispose());
    }

    [Fact]
    public async Task Store_SlowLoris_IsCutOffWhileItStillWrites()
    {
        int port = TestPorts.Free();
        using Socket listener = MasterEndpoint.Listen(System.Net.IPAddress.Loopback, port);
        StoreOptions options = Stores.Quick with { HandshakeTimeout = TimeSpan.FromSeconds(1) };
        using var server = new StoreServer(listener, Stores.Place(0, 2, port), Stores.Long, options, new(0));
        byte[] hello = StoreFrame.Encode(FrameKind.Hello, 0, StoreHello.From(Stores.Place(1, 2, port)).Encode());

        // A byte at a time never stands still, and never gets anywhere: far longer than the limit, if it is let.
        using Socket slow = await StoreTests.Connect(port);
        bool cut = false;
        for (int i = 0; i < hello.Length - 1 && !cut; i++)
        {
            slow.Send(hello.AsSpan(i, 1), SocketFlags.None, out SocketError error);
            cut = error != SocketError.Success || (slow.Poll(0, SelectMode.SelectRead) && slow.Available == 0);
            await Task.Delay(200, TestContext.Current.CancellationToken);
        }

        Assert.True(cut);
    }

    [Fact]
    public async Task Store_MemberThatTalksNonsense_IsNamedAndNothingElseHappens()
    {
        int port = TestPorts.Free();
        Task<TcpStore>[] joining = [.. Enumerable.Range(0, 2).Select(rank => Stores.JoinAsync(Stores.Place(rank, 3, port)))];
        using Socket mad = await Stores.GhostAsync(Stores.Place(2, 3, port));
        TcpStore[] stores = await Task.WhenAll(joining);

        mad.Send(StoreFrame.Encode(FrameKind.Get, 1, [255, 255, 255, 255, 255, 255]));

        Assert.Equal(2, (await stores[1].Lost.WaitAsync(Stores.Long, TestContext.Current.CancellationToken)).Rank);
        Assert.Equal(2, (await stores[0].Lost.WaitAsync(Stores.Long, TestContext.Current.CancellationToken)).Rank);
        Stores.Close(stores);
    }

    // All kinds at once, some hundred of each; ends by itself.
    private static async Task AttackAsync(int port, CancellationTokenSource done)
    {
        var random = new Random(3);
        var idle = new List<Socket>();
        for (int round = 0; round < 400; round++)
        {
            byte[] hello = StoreFrame.Encode(FrameKind.Hello, 0, StoreHello.From(Stores.Place(round % 3, 3, port)).Encode());
            byte[] junk = new byte[random.Next(1, 4000)];
            random.NextBytes(junk);
            byte[] promise = StoreFrame.Encode(FrameKind.Hello, 0, []);
            BinaryPrimitives.WriteInt32LittleEndian(promise, round % 2 == 0 ? int.MaxValue : -1);
            byte[][] attacks =
            [
                [],                                                                             // a port scan
                junk,                                                                           // another protocol
                "GET / HTTP/1.1\r\nHost: a\r\n\r\n"u8.ToArray(),                                // a health check
                promise,                                                                        // an impossible length
                hello.AsSpan(0, random.Next(hello.Length)).ToArray(),                                           // half a greeting
                [.. hello, .. StoreFrame.Encode(FrameKind.Proof, 0, RandomNumberGenerator.GetBytes(32))],  // a guess
                [.. hello, .. StoreFrame.Encode(FrameKind.Set, 0, junk.AsSpan(0, Math.Min(junk.Length, 900)))],    // a request without proof
            ];
            foreach (byte[] attack in attacks)
            {
                Socket socket = await StoreTests.Connect(port);
                socket.Send(attack, SocketFlags.None, out _);
                if (random.Next(4) == 0)
                {
                    idle.Add(socket);
                }
                else
                {
                    socket.Dispose();
                }
            }
        }

        idle.ForEach(socket => socket.Dispose());
        await done.CancelAsync();
    }

    private static async Task UntilAsync(Func<bool> condition)
    {
        using var limit = new CancellationTokenSource(Stores.Long);
        while (!condition())
        {
            await Task.Delay(20, limit.Token);
        }
    }
}

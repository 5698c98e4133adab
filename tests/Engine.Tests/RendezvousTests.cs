using System.Net;
using System.Net.Sockets;
using DeepSpeedSharp.Config;
using DeepSpeedSharp.Engine.Comm;
using DeepSpeedSharp.Engine.Comm.Transport;
using TorchSharp;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine.Tests;

public sealed class RendezvousTests
{
    private static readonly TimeSpan Long = TimeSpan.FromSeconds(60);
    private static readonly TimeSpan Short = TimeSpan.FromSeconds(2);

    [Fact]
    public async Task Join_RankZeroComesLast_AllRanksSumOverTcp()
    {
        int port = TestPorts.Free();
        Task<float>[] others = [.. new[] { 2, 1 }.Select(rank => SumAsync(Place(rank, 3, port), Long))];
        await Task.Delay(300, TestContext.Current.CancellationToken); // they find nobody yet, and try again
        Task<float> first = SumAsync(Place(0, 3, port), Long);

        float[] sums = await Task.WhenAll([first, .. others]);

        Assert.All(sums, sum => Assert.Equal(6000, sum));
    }

    [Fact]
    public async Task Join_MissingRank_RankZeroNamesIt()
    {
        int port = TestPorts.Free();
        Task<float> other = SumAsync(Place(1, 3, port), Short + Short);

        var error = await Assert.ThrowsAsync<PeerLostException>(() => SumAsync(Place(0, 3, port), Short));

        Assert.Equal(2, error.Rank);
        Assert.Contains("rank 2 of 3 did not come within 2 s", error.Message, StringComparison.Ordinal);
        await Assert.ThrowsAsync<PeerLostException>(() => other);
    }

    [Fact]
    public async Task Join_NobodyListens_NamesRankZeroAndItsAddress()
    {
        int port = TestPorts.Free();

        var error = await Assert.ThrowsAsync<PeerLostException>(() => SumAsync(Place(1, 2, port), Short));

        Assert.Contains($"rank 0 at 127.0.0.1:{port} did not answer within 2 s", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Join_PortOfRankZeroIsTaken_SaysSo()
    {
        int port = TestPorts.Free();
        using var other = new TcpListener(IPAddress.Loopback, port);
        other.Start();

        var error = await Assert.ThrowsAsync<PeerLostException>(() => SumAsync(Place(0, 2, port), Short));

        Assert.Contains($"another program held port {port} of rank 0 for 2 s", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Join_RankOfAnEarlierAttempt_IsTurnedAwayAndTheRightOneIsTaken()
    {
        int port = TestPorts.Free();
        Task<float> first = SumAsync(Place(0, 2, port), Long);

        var error = await Assert.ThrowsAsync<PeerLostException>(() => SumAsync(Place(1, 2, port) with { RunId = "job/1" }, Long));
        float sum = await SumAsync(Place(1, 2, port), Long);

        Assert.Contains("\"job/2\"", error.Message, StringComparison.Ordinal);
        Assert.Equal((3000, 3000), (sum, await first));
    }

    [Fact]
    public async Task Join_StrangersOnThePort_AreIgnored()
    {
        int port = TestPorts.Free();
        Task<float> first = SumAsync(Place(0, 2, port), Long);
        using (var stranger = new TcpClient())
        {
            while (!stranger.Connected)
            {
                try
                {
                    await stranger.ConnectAsync(IPAddress.Loopback, port, TestContext.Current.CancellationToken);
                }
                catch (SocketException)
                {
                    await Task.Delay(20, TestContext.Current.CancellationToken);
                }
            }

            await stranger.GetStream().WriteAsync("GET / HTTP/1.1\r\n\r\n"u8.ToArray(), TestContext.Current.CancellationToken);
        }

        float sum = await SumAsync(Place(1, 2, port), Long);

        Assert.Equal((3000, 3000), (sum, await first));
    }

    [Fact]
    public async Task AllReduce_SilentRank_TimesOutAndNamesIt()
    {
        int port = TestPorts.Free();
        Task<ProcessGroup> joining = JoinAsync(Place(1, 2, port), Long);
        using ProcessGroup group = await JoinAsync(Place(0, 2, port), Short);
        using ProcessGroup silent = await joining;

        var error = Assert.Throws<PeerLostException>(() =>
        {
            using var scope = NewDisposeScope();
            group.AllReduce(ones(8), "gradient bucket 7");
        });

        Assert.Equal(1, error.Rank);
        Assert.Contains("gradient bucket 7", error.Message, StringComparison.Ordinal);
        Assert.Contains("DEEPSPEED_TIMEOUT", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task AllReduce_RankThatEnds_IsNoticedAtOnce()
    {
        int port = TestPorts.Free();
        Task<ProcessGroup> joining = JoinAsync(Place(1, 2, port), Long);
        using ProcessGroup group = await JoinAsync(Place(0, 2, port), Long);
        (await joining).Dispose();

        var error = Assert.Throws<PeerLostException>(() =>
        {
            using var scope = NewDisposeScope();
            group.AllReduce(ones(8));
        });

        Assert.Contains("the connection ended", error.Message, StringComparison.Ordinal);
    }

    private static WorkerEnvironment Place(int rank, int worldSize, int port) =>
        new() { Rank = rank, LocalRank = rank, WorldSize = worldSize, MasterPort = port, RunId = "job/2" };

    private static Task<ProcessGroup> JoinAsync(WorkerEnvironment place, TimeSpan timeout) =>
        GroupFactory.CreateWorldAsync(place, timeout, new LinkOptions());

    private static Task<float> SumAsync(WorkerEnvironment place, TimeSpan timeout) => Task.Run(async () =>
    {
        using ProcessGroup group = await JoinAsync(place, timeout);
        using Tensor values = full(1000, place.Rank!.Value + 1f);
        group.AllReduce(values);
        return values.sum().ToSingle();
    });
}

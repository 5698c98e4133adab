using DeepSpeedSharp.Engine.Comm;
using DeepSpeedSharp.Engine.Comm.Transport;
using TorchSharp;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine.Tests.Comm;

/// <summary>Ranks that do not call the same: noticed, and said who called what.</summary>
public sealed class MismatchTests
{
    [Theory]
    [InlineData("order", "AllReduce", "Broadcast")]
    [InlineData("name", "first", "second")]
    [InlineData("op", "Sum", "Max")]
    [InlineData("type", "Float32", "Int32")]
    [InlineData("size", "10 elements", "11 elements")]
    [InlineData("shape", "[10]", "[2, 5]")]
    [InlineData("root", "root 0", "root 1")]
    [InlineData("splits", "3 elements for rank", "expects 2")]
    public void DebugMode_RankOneCallsAnother_AllRanksSayWhoCalledWhat(string difference, string mine, string other)
    {
        foreach (string layout in new[] { "board:3", "links:3" })
        {
            Exception?[] errors = Layout.Run(layout, group => Record.Exception(() => Call(group, difference, group.Rank == 1)), debug: true);

            Assert.All(errors, error =>
            {
                string message = Assert.IsType<CollectiveMismatchException>(error).Message;
                Assert.Contains(mine, message, StringComparison.Ordinal);
                Assert.Contains(other, message, StringComparison.Ordinal);
                Assert.Contains("rank 1", message, StringComparison.Ordinal);
            });
        }
    }

    [Fact]
    public void DebugMode_SameCalls_GoOn() => Layout.Run("board:2", group =>
    {
        using var scope = NewDisposeScope();
        Tensor values = ones(10);
        group.AllReduce(values);
        Assert.Equal(2, group.AllGather("x").Count);
        Assert.Equal(20, values.sum().ToSingle());
        return 0;
    }, debug: true);

    // Ranks that share memory see it for free.
    [Fact]
    public void OneHost_OtherSize_IsNoticedWithoutDebugModeAndTheGroupFails()
    {
        Exception?[] errors = Layout.Run("board:2", group =>
        {
            using var scope = NewDisposeScope();
            Exception? first = Record.Exception(() => group.AllReduce(ones(10 + group.Rank)));
            Assert.IsType<PeerLostException>(Record.Exception(() => group.AllReduce(ones(10))));
            return first;
        });

        Assert.All(errors, error => Assert.Contains("DEEPSPEED_COMM_DEBUG", Assert.IsType<CollectiveMismatchException>(error).Message, StringComparison.Ordinal));
    }

    [Fact]
    public void Receive_OtherType_SaysWhatCameAndTheNextMessageIsRight() => Layout.Run("links:2", group =>
    {
        using var scope = NewDisposeScope();
        if (group.Rank == 0)
        {
            group.Send(ones(5), 1);
            group.Send(ones(3, int64), 1);
            return 0;
        }

        var error = Assert.Throws<CollectiveMismatchException>(() => group.Receive(ones(5, int32), 0));
        Assert.Contains("20 bytes of Float32", error.Message, StringComparison.Ordinal);
        Tensor next = zeros(3, int64);
        group.Receive(next, 0);
        Assert.Equal(3, next.sum().ToInt64());
        return 0;
    });

    [Fact]
    public void MonitoredBarrier_TwoRanksMissing_RankZeroNamesBoth()
    {
        Exception?[] errors = Layout.Run("board:4", group => group.Rank % 2 == 1 ? null
            : Record.Exception(() => group.MonitoredBarrier(TimeSpan.FromSeconds(1), "start of evaluation")));

        var error = Assert.IsType<PeerLostException>(errors[0]);
        Assert.Contains("ranks 1, 3 did not come", error.Message, StringComparison.Ordinal);
        Assert.Equal([1, 3], error.Ranks);
        Assert.IsType<PeerLostException>(errors[2]);
    }

    [Theory]
    [InlineData("board")]
    [InlineData("links")]
    public void AllReduce_RankThatNeverComes_IsNamedAfterTheTimeoutAndTheGroupFails(string kind)
    {
        IReadOnlyList<HostLinks> links = HostLinks.InProcess(kind == "board" ? [2] : [1, 1], TimeSpan.FromSeconds(1));
        using var done = new ManualResetEventSlim();
        Exception?[] errors = Ranks.Run(links, group =>
        {
            if (group.Rank == 1)
            {
                done.Wait(TimeSpan.FromMinutes(1));
                return null;
            }

            using var scope = NewDisposeScope();
            Exception? first = Record.Exception(() => group.AllReduce(ones(8), "gradient bucket 7"));
            Exception? second = Record.Exception(() => group.Barrier());
            done.Set();
            Assert.IsType<PeerLostException>(second);
            return first;
        });

        var error = Assert.IsType<PeerLostException>(errors[0]);
        Assert.Equal(1, error.Rank);
        Assert.Contains("AllReduce of gradient bucket 7", error.Message, StringComparison.Ordinal);
        Assert.Contains("in 1 s", error.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(ScalarType.Int32, ReduceOp.Avg, "take Sum and divide")]
    [InlineData(ScalarType.Float32, ReduceOp.Bor, "use an integer type")]
    [InlineData(ScalarType.Int8, ReduceOp.Sum, "Int8")]
    public void AllReduce_OperationThatTheTypeLacks_IsRefusedByName(ScalarType type, ReduceOp op, string expected) => Ranks.Run(1, group =>
    {
        using var scope = NewDisposeScope();
        var error = Assert.Throws<ArgumentException>(() => group.AllReduce(zeros(3, type), op, "token counts"));
        Assert.Contains("token counts", error.Message, StringComparison.Ordinal);
        Assert.Contains(expected, error.Message, StringComparison.Ordinal);
        Assert.Contains("contiguous", Assert.Throws<ArgumentException>(() => group.AllReduce(zeros(2, 3).t())).Message, StringComparison.Ordinal);
    });

    private static void Call(ProcessGroup group, string difference, bool other)
    {
        using var scope = NewDisposeScope();
        Tensor values = difference switch
        {
            "size" when other => ones(11),
            "type" when other => ones(10, int32),
            "shape" when other => ones(2, 5),
            _ => ones(10),
        };
        switch (difference)
        {
            case "order" when other:
            case "root":
                group.Broadcast(values, difference == "root" && other ? 1 : 0);
                break;
            case "splits":
                // Rank 1 expects one element less from rank 0 than it sends.
                group.AllToAll(zeros(other ? 8 : 9), ones(9), other ? [2, 3, 3] : [3, 3, 3], [3, 3, 3]);
                break;
            default:
                group.AllReduce(values, difference == "op" && other ? ReduceOp.Max : ReduceOp.Sum, difference == "name" ? other ? "second" : "first" : "values");
                break;
        }
    }
}

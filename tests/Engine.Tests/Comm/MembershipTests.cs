using DeepSpeedSharp.Engine.Comm.Recording;
using DeepSpeedSharp.Engine.Comm.Store;

namespace DeepSpeedSharp.Engine.Tests.Comm;

public sealed class MembershipTests
{
    private static readonly StoreOptions Options = new() { HeartbeatInterval = Seconds(1), HeartbeatTimeout = Seconds(10) };
    private static readonly TimeSpan Timeout = Seconds(60);

    [Fact]
    public void Judge_AllBeat_NobodyIsLost()
    {
        Membership world = Complete(4);

        Assert.Null(Run(world, from: 0, to: 300, beating: [0, 1, 2, 3]));
    }

    [Fact]
    public void Judge_OneIsSilentForLessThanTheLimit_NobodyIsLost()
    {
        Membership world = Complete(3);

        Assert.Null(Run(world, 0, 9.5, [0, 1]));
        world.Heard(2, Seconds(9.5));
        Assert.Null(Run(world, 9.5, 12, [0, 1, 2]));
    }

    [Fact]
    public void Judge_TwoRanksOfAHostFallSilentAMomentApart_OneVerdictNamesBoth()
    {
        Membership world = Complete(6);
        Run(world, 0, 5, [0, 1, 2, 3, 4, 5]);
        world.Heard(3, Seconds(5.9));

        Verdict verdict = Run(world, 5, 40, [0, 1, 4, 5])!;

        Assert.Equal([2, 3], verdict.Ranks);
        Assert.Equal("host 1", verdict.Host);
    }

    [Fact]
    public void Judge_TheStoreItselfWasStopped_SilenceDuringThatTimeIsNotCounted()
    {
        Membership world = Complete(3);
        Run(world, 0, 5, [0, 1, 2]);

        Assert.Null(world.Judge(Seconds(500)));
        Assert.Null(Run(world, 500, 520, [0, 1, 2]));
        Assert.Equal([1], Run(world, 520, 560, [0, 2])!.Ranks);
    }

    [Fact]
    public void Judge_RankEnded_IsNamedWithinAnIntervalAndOnlyOnce()
    {
        Membership world = Complete(3);
        Run(world, 0, 5, [0, 1, 2]);
        world.Advance(1, new RankProgress(7, "AllReduce of x", []));
        world.End(1, saidGoodbye: false, Seconds(5));

        Verdict verdict = Run(world, 5, 6, [0, 2])!;

        Assert.Equal([1], verdict.Ranks);
        Assert.Equal((7, "AllReduce of x"), (verdict.Step, verdict.LastCollective));
        Assert.Null(Run(world, 6, 60, [0, 2]));
    }

    [Fact]
    public void Judge_EndedBeforeAllHaveCome_MayComeAgain()
    {
        var world = new Membership(2, Timeout, Options);
        world.Join(1, "a", Seconds(0));
        world.End(1, saidGoodbye: false, Seconds(1));

        Assert.Equal([0, 1], world.Missing);
        Assert.Null(Run(world, 1, 100, []));
    }

    [Fact]
    public void Judge_RankSaidGoodbyeAndNobodyWaits_IsNotLost()
    {
        Membership world = Complete(2);
        world.End(1, saidGoodbye: true, Seconds(1));

        Assert.Null(Run(world, 1, 200, [0]));
    }

    [Fact]
    public void Judge_SubGroupWaits_OnlyItsMembersCanBeGuilty()
    {
        Membership world = Complete(4);
        world.Define("pair", [2, 3]);
        world.Advance(2, At("pair", entered: 5, waiting: 5, seconds: 61));
        world.Advance(3, At("pair", entered: 4, waiting: 0, seconds: 0));

        Assert.Equal([3], Run(world, 0, 1, [0, 1, 2, 3])!.Ranks);
    }

    [Fact]
    public void Judge_WaitsShorterThanTheTimeout_NobodyIsLost()
    {
        Membership world = Complete(2);
        world.Define("world", [0, 1]);
        world.Advance(0, At("world", 5, 5, 59));

        Assert.Null(Run(world, 0, 5, [0, 1]));
    }

    [Fact]
    public void Judge_ChainOfWaits_NamesTheOneThatHoldsUpTheOthers()
    {
        Membership world = Complete(3);
        world.Define("a", [0, 1]);
        world.Define("b", [1, 2]);
        world.Advance(0, At("a", 1, 1, 70)); // waits for 1,
        world.Advance(1, At("b", 1, 1, 65)); // which waits for 2,
        world.Advance(2, At("b", 0, 0, 0));  // which computes

        Assert.Equal([2], Run(world, 0, 1, [0, 1, 2])!.Ranks);
    }

    [Fact]
    public void Judge_AllWaitInDifferentCollectives_SaysThatTheOrderDiffers()
    {
        Membership world = Complete(2);
        world.Define("a", [0, 1]);
        world.Define("b", [0, 1]);
        world.Advance(0, At("a", 1, 1, 70));
        world.Advance(1, At("b", 1, 1, 70));

        Assert.Contains("same order", Run(world, 0, 1, [0, 1])!.Reason, StringComparison.Ordinal);
    }

    [Fact]
    public void Judge_RankFailedByItself_ItsOwnWordsAreTheReason()
    {
        Membership world = Complete(3);
        world.Report(2, 2, "InvalidOperationException: no data", Seconds(1));

        Verdict verdict = Run(world, 1, 2, [0, 1, 2])!;

        Assert.Equal([2], verdict.Ranks);
        Assert.Contains("no data", verdict.Reason, StringComparison.Ordinal);
    }

    [Fact]
    public void Decode_Encoded_IsTheSame()
    {
        var verdict = new Verdict([1, 5], "a and b", "AllReduce", 9, "why");

        Verdict decoded = Verdict.Decode(verdict.Encode());

        Assert.Equal(verdict.ToException(0).Message, decoded.ToException(0).Message);
        Assert.Equal([1, 5], decoded.Ranks);
    }

    private static RankProgress At(string group, long entered, long waiting, double seconds) =>
        new(1, "last", [new GroupProgress(group, entered, waiting, Seconds(seconds), $"collective of {group}")]);

    // Two ranks per host.
    private static Membership Complete(int worldSize)
    {
        var world = new Membership(worldSize, Timeout, Options);
        for (int rank = 0; rank < worldSize; rank++)
        {
            world.Join(rank, $"host {rank / 2}", Seconds(0));
        }

        return world;
    }

    private static Verdict? Run(Membership world, double from, double to, int[] beating)
    {
        for (double now = from; now < to; now += 0.25)
        {
            foreach (int rank in beating)
            {
                world.Heard(rank, Seconds(now));
            }

            if (world.Judge(Seconds(now)) is { } verdict)
            {
                return verdict;
            }
        }

        return null;
    }

    private static TimeSpan Seconds(double seconds) => TimeSpan.FromSeconds(seconds);
}

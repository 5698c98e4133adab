using DeepSpeedSharp.Operator.Progress;

namespace DeepSpeedSharp.Operator.Tests.Progress;

public sealed class ProgressBoardTests
{
    [Fact]
    public void Note_NodeThatAnswersOnceWhileTrainingStands_IsNotSilentLater()
    {
        var board = new ProgressBoard();
        board.Note("a/b", "uid", 1, Report(7), DateTimeOffset.UnixEpoch);

        board.Note("a/b", "uid", 1, new Dictionary<int, long?> { [0] = 7, [1] = null });
        board.Note("a/b", "uid", 1, new Dictionary<int, long?> { [0] = null, [1] = null });

        Assert.Equal([(0, 7L), (1, (long?)null)], board.Latest("a/b", "uid", 1)!.NodeSteps.OrderBy(n => n.Key).Select(n => (n.Key, n.Value)));
    }

    [Fact]
    public void Note_AStepMore_ForgetsWhoAnswered()
    {
        var board = new ProgressBoard();
        board.Note("a/b", "uid", 1, new Dictionary<int, long?> { [0] = 7 });

        board.Note("a/b", "uid", 1, Report(8), DateTimeOffset.UnixEpoch);

        Assert.Empty(board.Latest("a/b", "uid", 1)!.NodeSteps);
    }

    private static ProgressReport Report(long step) => new(1, step, null, null, null, null, null, null);
}

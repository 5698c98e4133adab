using DeepSpeedSharp.Engine.Comm.Transport;

namespace DeepSpeedSharp.Engine.Comm.Algorithms;

/// <summary>Rounds of a board that do not wait for each other: what the others are not ready for is put off, and the next values
/// are given meanwhile, as far as there are slots.</summary>
/// <remarks>On a busy machine the ranks run in turns. Each turn then moves as much as all slots hold instead of one of them.</remarks>
internal static class Pipeline
{
    // One round ahead in any case: it is on its way while this one is worked on.
    private const int Always = 2;

    /// <summary>Runs rounds.</summary>
    /// <param name="board">The ranks.</param>
    /// <param name="count">Number of rounds, the same on every rank.</param>
    /// <param name="label">What this rank says of its slots.</param>
    /// <param name="give">Fills this rank's slot: number of the round from 0, and the slot.</param>
    /// <param name="take">Reads the others' slots: number of the round from 0, and the board's number.</param>
    /// <param name="operation">For messages.</param>
    public static void Run(Board board, long count, RoundLabel label, Action<long, Block> give, Action<long, long> take, object operation)
    {
        long given = 0, first = 0;
        for (long taken = 0; taken < count; taken++)
        {
            while (given < count && (given - taken < Always || (board.CanOpen && !board.AllHavePublished(first + taken))))
            {
                long round = board.Open(operation);
                first = given == 0 ? round : first;
                give(given++, board.Mine(round));
                board.Publish(round, label);
            }

            take(taken, first + taken);
            board.Release(first + taken);
        }
    }
}

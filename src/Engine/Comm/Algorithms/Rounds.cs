using DeepSpeedSharp.Engine.Comm.Transport;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine.Comm.Algorithms;

/// <summary>How a message is dealt to the rounds of a board.</summary>
internal static class Rounds
{
    /// <summary>Bytes of a slot for each of some ranks; whole cache lines, so that no element is cut.</summary>
    public static int ShareOf(int ranks) => Board.SlotBytes / ranks / 64 * 64;

    /// <summary>The longest of some blocks.</summary>
    public static long Longest(IReadOnlyList<Block> blocks)
    {
        long longest = 0;
        for (int i = 0; i < blocks.Count; i++)
        {
            longest = Math.Max(longest, blocks[i].Length);
        }

        return longest;
    }

    /// <summary>As much of a block as there is from a place on, up to a share.</summary>
    public static Block Part(Block block, long at, long share)
    {
        long from = Math.Min(at, block.Length);
        return block.Slice(from, Math.Min(share, block.Length - from));
    }

    /// <summary>What ranks tell each other of a collective in each round.</summary>
    public static RoundLabel Label(CollectiveKind kind, ScalarType type, ReduceOp op, long bytes) =>
        new((int)kind | (int)type << 8 | (int)op << 16, bytes);

    /// <summary>Waits for a rank's slot and refuses another collective's.</summary>
    /// <remarks>It costs nothing: the label is on a cache line that is read anyway. Debug mode says more, and more often.</remarks>
    /// <exception cref="CollectiveMismatchException">The rank is in another collective, or in one of another size.</exception>
    public static Block Check(Board board, int other, long round, RoundLabel label, object operation)
    {
        Block slot = board.Theirs(other, round, operation);
        return board.Label(other, round) == label ? slot : throw Mismatch(board, other, label, board.Label(other, round), operation);
    }

    /// <summary>Waits for a rank's slot, whose size may be any.</summary>
    /// <exception cref="CollectiveMismatchException">The rank is in another collective.</exception>
    public static (Block Slot, long Bytes) CheckKind(Board board, int other, long round, RoundLabel label, object operation)
    {
        Block slot = board.Theirs(other, round, operation);
        RoundLabel theirs = board.Label(other, round);
        return theirs.Kind == label.Kind ? (slot, theirs.Bytes) : throw Mismatch(board, other, label, theirs, operation);
    }

    private static CollectiveMismatchException Mismatch(Board board, int other, RoundLabel mine, RoundLabel theirs, object operation) =>
        new($"{operation}: rank {board.Members[board.Index]} of the group is in {Text(mine)}, rank {board.Members[other]} in {Text(theirs)}; every rank "
            + "must call the same collectives with the same sizes in the same order. Set DEEPSPEED_COMM_DEBUG=1 to see what each rank called");

    private static string Text(RoundLabel label) =>
        $"{(CollectiveKind)(label.Kind & 255)} ({(ScalarType)(label.Kind >> 8 & 255)}, {(ReduceOp)(label.Kind >> 16)}, {label.Bytes} bytes)";
}

using DeepSpeedSharp.Engine.Comm.Transport;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine.Comm.Algorithms;

/// <summary>Collectives that combine values, between ranks that share a board. Values are combined in the order of ranks.</summary>
internal static class BoardReductions
{
    /// <summary>Up to this size every rank combines everything by itself: one meeting instead of two.</summary>
    public const int LargestDirect = 32 << 10;

    /// <summary>Combines a buffer over all ranks, in place.</summary>
    /// <remarks>Two ranks, or a small buffer: each rank publishes its values and combines those of all; one round per slot. More
    /// ranks: each combines one part and publishes the result; two rounds per slot, and each value is combined once.</remarks>
    public static void AllReduce(Board board, Block buffer, ScalarType type, ReduceOp op, object operation)
    {
        if (board.Count == 2 || buffer.Length <= LargestDirect)
        {
            Direct(board, buffer, type, op, operation);
        }
        else
        {
            Divided(board, buffer, type, op, operation);
        }
    }

    /// <summary>Combines a buffer over all ranks at one of them.</summary>
    public static void Reduce(Board board, Block buffer, int root, ScalarType type, ReduceOp op, object operation)
    {
        RoundLabel label = Rounds.Label(CollectiveKind.Reduce, type, op, buffer.Length);
        for (long at = 0; at < buffer.Length; at += Board.SlotBytes)
        {
            Block part = buffer.Slice(at, Math.Min(Board.SlotBytes, buffer.Length - at));
            long round = board.Open(operation);
            part.CopyTo(board.Mine(round));
            board.Publish(round, label);
            if (board.Index == root)
            {
                CombineAll(board, round, 0, part, type, op, label, operation);
            }

            board.Release(round);
        }
    }

    /// <summary>Combines values over all ranks, each part at its owner only.</summary>
    /// <param name="board">The ranks.</param>
    /// <param name="parts">One per rank, of the same lengths on every rank.</param>
    /// <param name="result">As long as this rank's part; may be it.</param>
    /// <param name="type">Element type.</param>
    /// <param name="op">How values are combined.</param>
    /// <param name="operation">For messages.</param>
    public static void ReduceScatter(Board board, IReadOnlyList<Block> parts, Block result, ScalarType type, ReduceOp op, object operation)
    {
        // A slot holds as much of each part.
        int share = Rounds.ShareOf(board.Count);
        long longest = Rounds.Longest(parts);
        RoundLabel label = Rounds.Label(CollectiveKind.ReduceScatter, type, op, longest);
        Pipeline.Run(board, (longest + share - 1) / share, label, Give, Take, operation);

        void Give(long number, Block slot)
        {
            for (int other = 0; other < board.Count; other++)
            {
                // From the third rank on, its own values come after others have been combined, perhaps in their place.
                if (other != board.Index || board.Index > 1)
                {
                    Rounds.Part(parts[other], number * share, share).CopyTo(slot.Slice(other * (long)share, share));
                }
            }
        }

        void Take(long number, long round)
        {
            Block own = Rounds.Part(parts[board.Index], number * share, share);
            own = board.Index > 1 ? board.Mine(round).Slice(board.Index * (long)share, own.Length) : own;
            CombineAll(board, round, board.Index * share, own, Rounds.Part(result, number * share, share), type, op, label, operation);
        }
    }

    private static void Direct(Board board, Block buffer, ScalarType type, ReduceOp op, object operation)
    {
        RoundLabel label = Rounds.Label(CollectiveKind.AllReduce, type, op, buffer.Length);
        if (buffer.Length <= Board.SlotBytes)
        {
            long round = board.Open(operation);
            buffer.CopyTo(board.Mine(round));
            board.Publish(round, label);
            CombineAll(board, round, 0, buffer, type, op, label, operation);
            board.Release(round);
            return;
        }

        Pipeline.Run(board, (buffer.Length + Board.SlotBytes - 1) / Board.SlotBytes, label, (number, slot) => PartOf(number).CopyTo(slot),
            (number, round) => CombineAll(board, round, 0, PartOf(number), type, op, label, operation), operation);

        Block PartOf(long number) => Rounds.Part(buffer, number * Board.SlotBytes, Board.SlotBytes);
    }

    private static void Divided(Board board, Block buffer, ScalarType type, ReduceOp op, object operation)
    {
        RoundLabel label = Rounds.Label(CollectiveKind.AllReduce, type, op, buffer.Length);
        for (long at = 0; at < buffer.Length; at += Board.SlotBytes)
        {
            Block part = buffer.Slice(at, Math.Min(Board.SlotBytes, buffer.Length - at));
            long round = board.Open(operation);
            part.CopyTo(board.Mine(round));
            board.Publish(round, label);
            long second = board.Open(operation);
            Block own = ShareOf(board.Index);
            CombineAll(board, round, (int)(own.Length == 0 ? 0 : StartOf(board.Index)), own, type, op, label, operation);
            board.Release(round);
            own.CopyTo(board.Mine(second));
            board.Publish(second, label);
            for (int other = 0; other < board.Count; other++)
            {
                if (other != board.Index)
                {
                    Block share = ShareOf(other);
                    Rounds.Check(board, other, second, label, operation).Slice(0, share.Length).CopyTo(share);
                }
            }

            board.Release(second);

            long StartOf(int owner) => Math.Min(part.Length, (long)Each() * owner);
            Block ShareOf(int owner) => part.Slice(StartOf(owner), Math.Min(Each(), part.Length - StartOf(owner)));
            // On boundaries of cache lines, so that two ranks never write to the same one, and no element is cut.
            int Each() => (int)((part.Length + board.Count - 1) / board.Count + 63) / 64 * 64;
        }
    }

    // The values of all ranks at a place of their slots; this rank's are there too.
    private static void CombineAll(Board board, long round, int at, Block result, ScalarType type, ReduceOp op, RoundLabel label, object operation) =>
        CombineAll(board, round, at, board.Mine(round).Slice(at, result.Length), result, type, op, label, operation);

    private static void CombineAll(Board board, long round, int at, Block own, Block result, ScalarType type, ReduceOp op, RoundLabel label,
        object operation)
    {
        Span<byte> sum = result.Span();
        ReadOnlySpan<byte> first = Values(0);
        for (int other = 1; other < board.Count; other++)
        {
            Reduction.Combine(type, op, other == 1 ? first : sum, Values(other), sum);
        }

        if (board.Count == 1)
        {
            first.CopyTo(sum);
        }

        Reduction.Finish(type, op, sum, board.Count);

        ReadOnlySpan<byte> Values(int rank) => rank == board.Index ? own.Span()
            : Rounds.Check(board, rank, round, label, operation).Slice(at, result.Length).Span();
    }
}

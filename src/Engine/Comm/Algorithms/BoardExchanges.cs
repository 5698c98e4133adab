using DeepSpeedSharp.Engine.Comm.Transport;

namespace DeepSpeedSharp.Engine.Comm.Algorithms;

/// <summary>Collectives that move values, between ranks that share a board.</summary>
internal static class BoardExchanges
{
    /// <summary>Returns when all ranks have come.</summary>
    public static void Barrier(Board board, object operation)
    {
        RoundLabel label = LabelOf(CollectiveKind.Barrier, 0);
        long round = board.Open(operation);
        board.Publish(round, label);
        for (int other = 0; other < board.Count; other++)
        {
            Rounds.Check(board, other, round, label, operation);
        }

        board.Release(round);
    }

    /// <summary>Gives all ranks the parts of all.</summary>
    /// <param name="board">The ranks.</param>
    /// <param name="own">This rank's part.</param>
    /// <param name="parts">One per rank, of the same lengths on every rank; this rank's own is already in place.</param>
    /// <param name="operation">For messages.</param>
    public static void AllGather(Board board, Block own, IReadOnlyList<Block> parts, object operation)
    {
        long longest = Rounds.Longest(parts);
        RoundLabel label = LabelOf(CollectiveKind.AllGather, longest);
        Pipeline.Run(board, (longest + Board.SlotBytes - 1) / Board.SlotBytes, label,
            (number, slot) => Rounds.Part(own, number * Board.SlotBytes, Board.SlotBytes).CopyTo(slot), Take, operation);

        void Take(long number, long round)
        {
            for (int other = 0; other < board.Count; other++)
            {
                if (other != board.Index)
                {
                    Block part = Rounds.Part(parts[other], number * Board.SlotBytes, Board.SlotBytes);
                    Rounds.Check(board, other, round, label, operation).Slice(0, part.Length).CopyTo(part);
                }
            }
        }
    }

    /// <summary>Gives all ranks one rank's values.</summary>
    public static void Broadcast(Board board, Block buffer, int root, object operation)
    {
        RoundLabel label = LabelOf(CollectiveKind.Broadcast, buffer.Length);
        for (long at = 0; at < buffer.Length; at += Board.SlotBytes)
        {
            Block part = Rounds.Part(buffer, at, Board.SlotBytes);
            long round = board.Open(operation);
            if (board.Index == root)
            {
                part.CopyTo(board.Mine(round));
            }

            board.Publish(round, label);
            if (board.Index != root)
            {
                Rounds.Check(board, root, round, label, operation).Slice(0, part.Length).CopyTo(part);
            }

            board.Release(round);
        }
    }

    /// <summary>Gives each rank a part of every rank's values. What others take and give is known to them only, so each rank
    /// says how much it has for one rank at most.</summary>
    /// <param name="board">The ranks.</param>
    /// <param name="kind">AllToAll; or Scatter and Gather, where only one rank gives or takes.</param>
    /// <param name="inputs">One for each rank; may be empty blocks.</param>
    /// <param name="outputs">One from each rank; may be empty blocks.</param>
    /// <param name="operation">For messages.</param>
    public static void AllToAll(Board board, CollectiveKind kind, IReadOnlyList<Block> inputs, IReadOnlyList<Block> outputs, object operation)
    {
        int share = Rounds.ShareOf(board.Count);
        RoundLabel label = LabelOf(kind, Rounds.Longest(inputs));
        long longest = long.MaxValue;
        for (long at = 0; at < longest; at += share)
        {
            long round = board.Open(operation);
            for (int other = 0; other < board.Count; other++)
            {
                Rounds.Part(inputs[other], at, share).CopyTo(board.Mine(round).Slice(other * (long)share, share));
            }

            board.Publish(round, label);
            longest = 0;
            for (int other = 0; other < board.Count; other++)
            {
                (Block slot, long bytes) = Rounds.CheckKind(board, other, round, label, operation);
                longest = Math.Max(longest, bytes);
                Block part = Rounds.Part(outputs[other], at, share);
                slot.Slice(board.Index * (long)share, part.Length).CopyTo(part);
            }

            board.Release(round);
        }
    }

    /// <summary>Gives all ranks the bytes of all, whose lengths only their owners know.</summary>
    public static unsafe byte[][] GatherBytes(Board board, ReadOnlySpan<byte> mine, object operation)
    {
        var all = new byte[board.Count][];
        fixed (byte* start = mine)
        {
            var own = new Block(start, mine.Length);
            RoundLabel label = LabelOf(CollectiveKind.AllGather, mine.Length) with { Kind = (int)CollectiveKind.AllGather | 255 << 8 };
            long longest = long.MaxValue;
            for (long at = 0; at < longest; at += Board.SlotBytes)
            {
                long round = board.Open(operation);
                Rounds.Part(own, at, Board.SlotBytes).CopyTo(board.Mine(round));
                board.Publish(round, label);
                longest = 0;
                for (int other = 0; other < board.Count; other++)
                {
                    (Block slot, long bytes) = Rounds.CheckKind(board, other, round, label, operation);
                    longest = Math.Max(longest, bytes);
                    all[other] ??= new byte[bytes];
                    int count = (int)Math.Clamp(bytes - at, 0, Board.SlotBytes);
                    slot.Span(0, count).CopyTo(all[other].AsSpan((int)Math.Min(at, bytes)));
                }

                board.Release(round);
            }
        }

        return all;
    }

    private static RoundLabel LabelOf(CollectiveKind kind, long bytes) => Rounds.Label(kind, 0, 0, bytes);
}

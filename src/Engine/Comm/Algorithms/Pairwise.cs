using DeepSpeedSharp.Engine.Comm.Transport;

namespace DeepSpeedSharp.Engine.Comm.Algorithms;

/// <summary>Collectives in which each rank has something of its own for each other one.</summary>
internal static class Pairwise
{
    /// <summary>Gives each rank a part of every rank's values: N-1 steps, in step k with the ranks k before and behind.</summary>
    /// <param name="peers">The ranks.</param>
    /// <param name="inputs">One for each rank; may be empty blocks.</param>
    /// <param name="outputs">One from each rank; may be empty blocks.</param>
    /// <param name="operation">For messages.</param>
    public static void AllToAll(Peers peers, IReadOnlyList<Block> inputs, IReadOnlyList<Block> outputs, object operation)
    {
        inputs[peers.Rank].CopyTo(outputs[peers.Rank]);
        for (int step = 1; step < peers.Count; step++)
        {
            int to = (peers.Rank + step) % peers.Count;
            int from = (peers.Rank - step + peers.Count) % peers.Count;
            peers.Exchange(to, inputs[to], from, outputs[from], operation);
        }
    }

    /// <summary>Gives all ranks the bytes of all, whose lengths only their owners know.</summary>
    public static unsafe byte[][] GatherBytes(Peers peers, byte[] mine, object operation)
    {
        long[] lengths = new long[peers.Count];
        lengths[peers.Rank] = mine.Length;
        fixed (long* start = lengths)
        {
            byte* first = (byte*)start;
            Ring.AllGather(peers, [.. Blocks(first, [.. Enumerable.Repeat((long)sizeof(long), peers.Count)])], operation);
        }

        // One buffer for all: arrays of their own would each have to be pinned.
        byte[] all = new byte[lengths.Sum()];
        long own = lengths.Take(peers.Rank).Sum();
        mine.CopyTo(all.AsSpan((int)own));
        fixed (byte* start = all)
        {
            Ring.AllGather(peers, [.. Blocks(start, lengths)], operation);
        }

        var result = new byte[peers.Count][];
        int at = 0;
        for (int i = 0; i < result.Length; i++)
        {
            result[i] = all[at..(at + (int)lengths[i])];
            at += (int)lengths[i];
        }

        return result;
    }

    private static unsafe Block[] Blocks(byte* start, long[] lengths)
    {
        var blocks = new Block[lengths.Length];
        for (int i = 0; i < lengths.Length; i++)
        {
            blocks[i] = new Block(start, lengths[i]);
            start += lengths[i];
        }

        return blocks;
    }
}

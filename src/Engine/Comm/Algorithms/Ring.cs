using DeepSpeedSharp.Engine.Comm.Transport;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine.Comm.Algorithms;

/// <summary>Collectives on a ring of ranks: each sends to the next one only, and the traffic per rank stays flat as ranks are added.</summary>
internal static class Ring
{
    // Large enough to keep a link busy, small enough that the ranks work at the same time and values stay in the cache.
    private const int PieceBytes = 1 << 20;

    /// <summary>Combines values over all ranks, in place.</summary>
    /// <remarks>
    /// A reduce-scatter and an all-gather of even chunks: 2(N-1) steps; each rank sends about 2n(N-1)/N elements. The order in
    /// which values are combined depends only on N and the length, so equal inputs give equal bits on every rank and in every run.
    /// Patarasuk and Yuan, "Bandwidth optimal all-reduce algorithms for clusters of workstations", 2009.
    /// </remarks>
    /// <param name="peers">The ranks.</param>
    /// <param name="buffer">[n] values as bytes, the same n on every rank; holds the result afterwards.</param>
    /// <param name="type">Element type.</param>
    /// <param name="op">How values are combined; a mean is left a sum.</param>
    /// <param name="scratch">Memory.</param>
    /// <param name="operation">For messages.</param>
    public static void AllReduce(Peers peers, Block buffer, ScalarType type, ReduceOp op, Scratch scratch, object operation)
    {
        int size = Reduction.BytesOf(type);
        // This rank combines the chunk after its own number.
        Block[] chunks = [.. Enumerable.Range(0, peers.Count).Select(owner =>
        {
            (long start, long length) = ChunkOf(buffer.Length / size, (owner + 1) % peers.Count, peers.Count);
            return buffer.Slice(start * size, length * size);
        })];
        ReduceScatter(peers, chunks, type, op, scratch, operation);
        AllGather(peers, chunks, operation);
    }

    /// <summary>Combines values over all ranks, each chunk at its owner only.</summary>
    /// <remarks>
    /// N-1 steps: a chunk starts at the rank after its owner and goes around the ring, each rank adding its own values,
    /// so the order depends only on N and the owner. Chunks may differ in length and be empty.
    /// </remarks>
    /// <param name="peers">The ranks.</param>
    /// <param name="chunks">Values as bytes, one chunk per owning rank, of the same lengths on every rank. This rank's
    /// chunk holds the result afterwards, the others hold partial results.</param>
    /// <param name="type">Element type.</param>
    /// <param name="op">How values are combined; a mean is left a sum.</param>
    /// <param name="scratch">Memory.</param>
    /// <param name="operation">For messages.</param>
    public static void ReduceScatter(Peers peers, IReadOnlyList<Block> chunks, ScalarType type, ReduceOp op, Scratch scratch, object operation)
    {
        (int rank, int world) = (peers.Rank, peers.Count);
        Block incoming = scratch.Take(Math.Min(PieceBytes, Rounds.Longest(chunks)));
        for (int step = 0; step < world - 1; step++)
        {
            Block outgoing = chunks[(rank - step - 1 + world) % world];
            Block partial = chunks[(rank - step - 2 + world + world) % world];
            // In pieces: the values that have arrived are still in the cache when they are combined.
            for (long at = 0; at < Math.Max(outgoing.Length, partial.Length); at += PieceBytes)
            {
                Block piece = Rounds.Part(partial, at, PieceBytes);
                Block arrived = incoming.Slice(0, piece.Length);
                peers.Shift(Rounds.Part(outgoing, at, PieceBytes), arrived, operation);
                Reduction.Combine(type, op, arrived.Span(), piece.Span(), piece.Span());
            }
        }
    }

    /// <summary>Gives every rank the chunks of all ranks.</summary>
    /// <param name="peers">The ranks.</param>
    /// <param name="chunks">One chunk per rank, of the same lengths on every rank; this rank's own is filled beforehand,
    /// the others afterwards. Chunks may differ in length and be empty.</param>
    /// <param name="operation">For messages.</param>
    public static void AllGather(Peers peers, IReadOnlyList<Block> chunks, object operation)
    {
        (int rank, int world) = (peers.Rank, peers.Count);
        for (int step = 0; step < world - 1; step++)
        {
            Block outgoing = chunks[(rank - step + world) % world];
            Block incoming = chunks[(rank - step - 1 + world) % world];
            peers.Shift(outgoing, incoming, operation);
        }
    }

    /// <summary>Copies one rank's bytes to all ranks, in pieces that follow each other around the ring.</summary>
    /// <param name="peers">The ranks.</param>
    /// <param name="buffer">The bytes on the root; their copy on the others. The same length on every rank.</param>
    /// <param name="root">The rank whose bytes are copied.</param>
    /// <param name="operation">For messages.</param>
    public static void Broadcast(Peers peers, Block buffer, int root, object operation)
    {
        int position = (peers.Rank - root + peers.Count) % peers.Count;
        (bool receives, bool sends) = (position > 0, position < peers.Count - 1);
        Block toForward = default;
        for (long start = 0; start < buffer.Length; start += PieceBytes)
        {
            Block piece = Rounds.Part(buffer, start, PieceBytes);
            // The previous piece leaves while this one arrives.
            peers.Shift(receives ? toForward : sends ? piece : default, receives ? piece : default, operation);
            toForward = receives && sends ? piece : default;
        }

        peers.Shift(toForward, default, operation);
    }

    /// <summary>Which elements belong to a chunk: the first chunks are one element longer when it does not divide.</summary>
    internal static (long Start, long Length) ChunkOf(long elements, int index, int count)
    {
        (long each, long longer) = (elements / count, elements % count);
        return (index * each + Math.Min(index, longer), each + (index < longer ? 1 : 0));
    }
}

using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine.Comm;

/// <summary>Collectives on a ring of ranks. Every rank must call each one, in the same order.</summary>
internal static class Ring
{
    // Large enough to keep a link busy, small enough that the ranks of a broadcast work at the same time.
    private const int BroadcastPieceBytes = 1 << 20;

    /// <summary>Sums values over all ranks, in place.</summary>
    /// <remarks>
    /// 2(N-1) steps; each rank sends about 2n(N-1)/N elements, so traffic per rank stays flat as N grows. The order of
    /// additions depends only on N and the length, so equal inputs give equal bits on every rank and in every run.
    /// Patarasuk and Yuan, "Bandwidth optimal all-reduce algorithms for clusters of workstations", 2009.
    /// </remarks>
    /// <param name="transport">Links to the neighbours.</param>
    /// <param name="buffer">[n] values as bytes, the same n on every rank; holds the sum afterwards.</param>
    /// <param name="type">Element type.</param>
    /// <param name="operation">Name of the collective, for messages.</param>
    public static async Task AllReduceAsync(
        ITransport transport, Memory<byte> buffer, ScalarType type, string operation)
    {
        (int rank, int world) = (transport.Rank, transport.WorldSize);
        int size = Summation.BytesOf(type);
        int elements = buffer.Length / size;
        var incoming = new byte[(elements / world + 1) * size];

        // Reduce-scatter: after the last step, this rank holds the full sum of chunk rank + 1.
        for (int step = 0; step < world - 1; step++)
        {
            Memory<byte> partial = Chunk(rank - step - 1);
            Memory<byte> received = incoming.AsMemory(0, partial.Length);
            await transport.ShiftAsync(Chunk(rank - step), received, operation).ConfigureAwait(false);
            Summation.Add(type, partial.Span, received.Span);
        }

        // All-gather: the finished chunks travel once around, each overwriting a partial one.
        for (int step = 0; step < world - 1; step++)
        {
            await transport.ShiftAsync(Chunk(rank - step + 1), Chunk(rank - step), operation).ConfigureAwait(false);
        }

        Memory<byte> Chunk(int index)
        {
            (int start, int length) = ChunkOf(elements, ((index % world) + world) % world, world);
            return buffer.Slice(start * size, length * size);
        }
    }

    /// <summary>Copies one rank's bytes to all ranks, in pieces that follow each other around the ring.</summary>
    /// <param name="transport">Links to the neighbours.</param>
    /// <param name="buffer">The bytes on the root; their copy on the others. The same length on every rank.</param>
    /// <param name="root">The rank whose bytes are copied.</param>
    /// <param name="operation">Name of the collective, for messages.</param>
    public static async Task BroadcastAsync(ITransport transport, Memory<byte> buffer, int root, string operation)
    {
        int position = (transport.Rank - root + transport.WorldSize) % transport.WorldSize;
        (bool receives, bool sends) = (position > 0, position < transport.WorldSize - 1);
        Memory<byte> toForward = Memory<byte>.Empty;
        for (int start = 0; start < buffer.Length; start += BroadcastPieceBytes)
        {
            Memory<byte> piece = buffer.Slice(start, Math.Min(BroadcastPieceBytes, buffer.Length - start));
            if (receives)
            {
                // The previous piece leaves while this one arrives.
                await transport.ShiftAsync(toForward, piece, operation).ConfigureAwait(false);
                toForward = sends ? piece : Memory<byte>.Empty;
            }
            else if (sends)
            {
                await transport.ShiftAsync(piece, Memory<byte>.Empty, operation).ConfigureAwait(false);
            }
        }

        if (toForward.Length > 0)
        {
            await transport.ShiftAsync(toForward, Memory<byte>.Empty, operation).ConfigureAwait(false);
        }
    }

    /// <summary>Gives every rank the bytes of all ranks.</summary>
    /// <param name="transport">Links to the neighbours.</param>
    /// <param name="blocks">One block of the same length per rank; this rank's own is filled beforehand.</param>
    /// <param name="operation">Name of the collective, for messages.</param>
    public static async Task AllGatherAsync(ITransport transport, IReadOnlyList<byte[]> blocks, string operation)
    {
        (int rank, int world) = (transport.Rank, transport.WorldSize);
        for (int step = 0; step < world - 1; step++)
        {
            byte[] outgoing = blocks[(rank - step + world) % world];
            byte[] incoming = blocks[(rank - step - 1 + world) % world];
            await transport.ShiftAsync(outgoing, incoming, operation).ConfigureAwait(false);
        }
    }

    /// <summary>Which elements belong to a chunk: the first chunks are one element longer when it does not divide.</summary>
    internal static (int Start, int Length) ChunkOf(int elements, int index, int count)
    {
        (int each, int longer) = (elements / count, elements % count);
        return (index * each + Math.Min(index, longer), each + (index < longer ? 1 : 0));
    }
}

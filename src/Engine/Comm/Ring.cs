using System.Buffers;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine.Comm;

/// <summary>Collectives on a ring of ranks. Every rank must call each one, in the same order.</summary>
internal static class Ring
{
    // Large enough to keep a link busy, small enough that the ranks of a broadcast work at the same time.
    private const int BroadcastPieceBytes = 1 << 20;

    /// <summary>Sums values over all ranks, in place.</summary>
    /// <remarks>
    /// A reduce-scatter and an all-gather of even chunks: 2(N-1) steps; each rank sends about 2n(N-1)/N elements, so
    /// traffic per rank stays flat as N grows. The order of additions depends only on N and the length, so equal inputs
    /// give equal bits on every rank and in every run.
    /// Patarasuk and Yuan, "Bandwidth optimal all-reduce algorithms for clusters of workstations", 2009.
    /// </remarks>
    /// <param name="transport">Links to the neighbours.</param>
    /// <param name="buffer">[n] values as bytes, the same n on every rank; holds the sum afterwards.</param>
    /// <param name="type">Element type.</param>
    /// <param name="operation">Name of the collective, for messages.</param>
    public static async Task AllReduceAsync(
        ITransport transport, Memory<byte> buffer, ScalarType type, string operation)
    {
        int world = transport.WorldSize;
        int size = Summation.BytesOf(type);
        int elements = buffer.Length / size;
        // This rank sums the chunk after its own number.
        Memory<byte>[] chunks = [.. Enumerable.Range(0, world).Select(owner =>
        {
            (int start, int length) = ChunkOf(elements, (owner + 1) % world, world);
            return buffer.Slice(start * size, length * size);
        })];
        await ReduceScatterAsync(transport, chunks, type, operation).ConfigureAwait(false);
        await AllGatherAsync(transport, chunks, operation).ConfigureAwait(false);
    }

    /// <summary>Sums values over all ranks, each chunk at its owner only.</summary>
    /// <remarks>
    /// N-1 steps: a chunk starts at the rank after its owner and goes around the ring, each rank adding its own values,
    /// so the order of additions depends only on N and the owner. Chunks may differ in length and be empty.
    /// </remarks>
    /// <param name="transport">Links to the neighbours.</param>
    /// <param name="chunks">Values as bytes, one chunk per owning rank, of the same lengths on every rank. This rank's
    /// chunk holds the sum afterwards, the others hold partial sums.</param>
    /// <param name="type">Element type.</param>
    /// <param name="operation">Name of the collective, for messages.</param>
    public static async Task ReduceScatterAsync(
        ITransport transport, IReadOnlyList<Memory<byte>> chunks, ScalarType type, string operation)
    {
        (int rank, int world) = (transport.Rank, transport.WorldSize);
        byte[] incoming = ArrayPool<byte>.Shared.Rent(chunks.Max(chunk => chunk.Length));
        try
        {
            for (int step = 0; step < world - 1; step++)
            {
                Memory<byte> outgoing = chunks[(rank - step - 1 + world) % world];
                Memory<byte> partial = chunks[(rank - step - 2 + world + world) % world];
                Memory<byte> received = incoming.AsMemory(0, partial.Length);
                await transport.ShiftAsync(outgoing, received, operation).ConfigureAwait(false);
                Summation.Add(type, partial.Span, received.Span);
            }
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(incoming);
        }
    }

    /// <summary>Gives every rank the chunks of all ranks.</summary>
    /// <param name="transport">Links to the neighbours.</param>
    /// <param name="chunks">One chunk per rank, of the same lengths on every rank; this rank's own is filled beforehand,
    /// the others afterwards. Chunks may differ in length and be empty.</param>
    /// <param name="operation">Name of the collective, for messages.</param>
    public static async Task AllGatherAsync(ITransport transport, IReadOnlyList<Memory<byte>> chunks, string operation)
    {
        (int rank, int world) = (transport.Rank, transport.WorldSize);
        for (int step = 0; step < world - 1; step++)
        {
            Memory<byte> outgoing = chunks[(rank - step + world) % world];
            Memory<byte> incoming = chunks[(rank - step - 1 + world) % world];
            await transport.ShiftAsync(outgoing, incoming, operation).ConfigureAwait(false);
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

    /// <summary>Which elements belong to a chunk: the first chunks are one element longer when it does not divide.</summary>
    internal static (int Start, int Length) ChunkOf(int elements, int index, int count)
    {
        (int each, int longer) = (elements / count, elements % count);
        return (index * each + Math.Min(index, longer), each + (index < longer ? 1 : 0));
    }
}

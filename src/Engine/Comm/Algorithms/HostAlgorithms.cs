using DeepSpeedSharp.Engine.Comm.Transport;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine.Comm.Algorithms;

/// <summary>Chooses, by size and by where the ranks are, how each collective is done.</summary>
/// <remarks>
/// <para>All ranks on one host: the board. One rank per host, or no shared memory: links, in log2(N) steps up to
/// <see cref="LargestShort"/> bytes and around a ring above. Several ranks on several hosts: all-reduce, broadcast and barrier
/// go in three stages, on the host, between hosts, on the host; the others go around a ring whose neighbours are mostly on the
/// same host.</para>
/// <para>The choice depends only on what is the same on every rank.</para>
/// </remarks>
internal sealed class HostAlgorithms : IDisposable
{
    /// <summary>Between hosts a message up to this size is one whose time is that of the steps.</summary>
    public const int LargestShort = 64 << 10;

    private readonly HostLinks _links;
    private readonly Scratch _scratch = new();
    private readonly Scratch _copies = new();
    private readonly Peers _all;
    private readonly bool _isOneHost;
    private readonly bool _hasStages;
    private readonly bool _isEven;

    public HostAlgorithms(HostLinks links)
    {
        _links = links;
        _all = Peers.All(links.Collectives);
        _isOneHost = links.Hosts.Count == 1 && (links.Board is not null || links.Local.Count == 1);
        // A host whose ranks share no memory counts as several (see the linking), so that all ranks agree.
        _hasStages = !_isOneHost && links.Hosts.Any(host => host.Count > 1);
        _isEven = links.Hosts.All(host => host.Count == links.Local.Count);
    }

    private Board Board => _links.Board!;

    private int World => _all.Count;

    /// <summary>Combines a buffer over all ranks, in place.</summary>
    public void AllReduce(Block buffer, ScalarType type, ReduceOp op, object operation)
    {
        if (World == 1 || buffer.Length == 0)
        {
            return;
        }

        if (_isOneHost)
        {
            BoardReductions.AllReduce(Board, buffer, type, op, operation);
            return;
        }

        ReduceOp sum = op == ReduceOp.Avg ? ReduceOp.Sum : op;
        if (!_hasStages)
        {
            Between(_all, buffer, type, sum, operation);
        }
        else if (_isEven && buffer.Length > LargestShort)
        {
            InColumns(buffer, type, sum, operation);
        }
        else
        {
            ThroughFirst(buffer, type, sum, operation);
        }

        Finish(buffer, type, op);
    }

    /// <summary>Combines a buffer over all ranks at one of them; the others keep theirs.</summary>
    public void Reduce(Block buffer, int root, ScalarType type, ReduceOp op, object operation)
    {
        if (World == 1)
        {
            return;
        }

        if (_isOneHost)
        {
            BoardReductions.Reduce(Board, buffer, root, type, op, operation);
            return;
        }

        ReduceOp sum = op == ReduceOp.Avg ? ReduceOp.Sum : op;
        const int pieceBytes = 1 << 20;
        for (long at = 0; at < buffer.Length; at += pieceBytes)
        {
            Block piece = Rounds.Part(buffer, at, pieceBytes);
            Block partial = _copies.Take(piece.Length);
            piece.CopyTo(partial);
            Trees.Reduce(_all, partial, root, type, sum, _scratch, operation);
            if (_all.Rank == root)
            {
                partial.CopyTo(piece);
                Finish(piece, type, op);
            }
        }
    }

    /// <summary>Combines values over all ranks, each part at its owner only.</summary>
    /// <param name="parts">One per rank, of the same lengths on every rank.</param>
    /// <param name="result">As long as this rank's part. When it is that part, the other parts are overwritten.</param>
    /// <param name="type">Element type.</param>
    /// <param name="op">How values are combined.</param>
    /// <param name="operation">For messages.</param>
    public unsafe void ReduceScatter(Block[] parts, Block result, ScalarType type, ReduceOp op, object operation)
    {
        Block own = parts[_all.Rank];
        if (_isOneHost && World > 1)
        {
            BoardReductions.ReduceScatter(Board, parts, result, type, op, operation);
            return;
        }

        if (World > 1)
        {
            parts = result.Start == own.Start ? parts : Copy(parts);
            own = parts[_all.Rank];
            Ring.ReduceScatter(_all, parts, type, op == ReduceOp.Avg ? ReduceOp.Sum : op, _scratch, operation);
            Finish(own, type, op);
        }

        if (result.Start != own.Start)
        {
            own.CopyTo(result);
        }
    }

    /// <summary>Gives all ranks the parts of all; this rank's is already in place.</summary>
    public void AllGather(Block[] parts, object operation)
    {
        if (_isOneHost && World > 1)
        {
            BoardExchanges.AllGather(Board, parts[_all.Rank], parts, operation);
        }
        else
        {
            Ring.AllGather(_all, parts, operation);
        }
    }

    /// <summary>Gives all ranks one rank's values.</summary>
    public void Broadcast(Block buffer, int root, object operation)
    {
        if (World == 1 || buffer.Length == 0)
        {
            return;
        }

        if (_isOneHost)
        {
            BoardExchanges.Broadcast(Board, buffer, root, operation);
            return;
        }

        if (!_hasStages)
        {
            Spread(_all, buffer, root, operation);
            return;
        }

        // The root stands for its host, the first rank for each other one.
        int host = HostOf(root);
        int[] heads = [.. _links.Hosts.Select((ranks, i) => i == host ? root : ranks[0])];
        if (heads.Contains(_all.Rank))
        {
            Spread(new Peers(_links.Collectives, heads, Array.IndexOf(heads, _all.Rank)), buffer, host, operation);
        }

        if (_links.Board is { } board)
        {
            int head = heads.First(_links.Local.Contains);
            BoardExchanges.Broadcast(board, buffer, IndexOf(_links.Local, head), operation);
        }
    }

    /// <summary>Gives each rank a part of every rank's values; scatter and gather are the cases in which one rank gives or takes.</summary>
    public void AllToAll(CollectiveKind kind, Block[] inputs, Block[] outputs, object operation)
    {
        if (_isOneHost && World > 1)
        {
            BoardExchanges.AllToAll(Board, kind, inputs, outputs, operation);
        }
        else
        {
            Pairwise.AllToAll(_all, inputs, outputs, operation);
        }
    }

    /// <summary>Gives all ranks the bytes of all.</summary>
    public byte[][] GatherBytes(byte[] mine, object operation) => World == 1 ? [mine]
        : _isOneHost ? BoardExchanges.GatherBytes(Board, mine, operation) : Pairwise.GatherBytes(_all, mine, operation);

    /// <summary>Returns when all ranks have come.</summary>
    public void Barrier(object operation)
    {
        if (_links.Board is not { } board)
        {
            if (_hasStages)
            {
                Trees.Barrier(Heads(), operation);
            }
            else
            {
                Trees.Barrier(_all, operation);
            }

            return;
        }

        BoardExchanges.Barrier(board, operation);
        if (!_isOneHost)
        {
            if (board.Index == 0)
            {
                Trees.Barrier(Heads(), operation);
            }

            BoardExchanges.Barrier(board, operation);
        }
    }

    public void Dispose()
    {
        _scratch.Dispose();
        _copies.Dispose();
    }

    // Between ranks that share no memory.
    private void Between(Peers peers, Block buffer, ScalarType type, ReduceOp op, object operation)
    {
        if (peers.Count == 1)
        {
            return;
        }

        if (buffer.Length <= LargestShort)
        {
            Trees.AllReduce(peers, buffer, type, op, _scratch, operation);
        }
        else
        {
            Ring.AllReduce(peers, buffer, type, op, _scratch, operation);
        }
    }

    private static void Spread(Peers peers, Block buffer, int root, object operation)
    {
        if (buffer.Length <= LargestShort)
        {
            Trees.Broadcast(peers, buffer, root, operation);
        }
        else
        {
            Ring.Broadcast(peers, buffer, root, operation);
        }
    }

    // Each rank of a host takes one part of the buffer and meets those with the same place on other hosts.
    private void InColumns(Block buffer, ScalarType type, ReduceOp op, object operation)
    {
        int size = Reduction.BytesOf(type);
        int count = _links.Local.Count;
        Block[] parts = [.. Enumerable.Range(0, count).Select(i =>
        {
            (long start, long length) = Ring.ChunkOf(buffer.Length / size, i, count);
            return buffer.Slice(start * size, length * size);
        })];
        int index = IndexOf(_links.Local, _all.Rank);
        if (_links.Board is { } board)
        {
            BoardReductions.ReduceScatter(board, parts, parts[index], type, op, operation);
        }

        int[] column = [.. _links.Hosts.Select(host => host[index])];
        Between(new Peers(_links.Collectives, column, HostOf(_all.Rank)), parts[index], type, op, operation);
        if (_links.Board is { } again)
        {
            BoardExchanges.AllGather(again, parts[index], parts, operation);
        }
    }

    // The first rank of each host stands for it.
    private void ThroughFirst(Block buffer, ScalarType type, ReduceOp op, object operation)
    {
        if (_links.Board is { } board)
        {
            BoardReductions.Reduce(board, buffer, 0, type, op, operation);
        }

        if (_links.Local[0] == _all.Rank)
        {
            Between(Heads(), buffer, type, op, operation);
        }

        if (_links.Board is { } again)
        {
            BoardExchanges.Broadcast(again, buffer, 0, operation);
        }
    }

    private Peers Heads() => new(_links.Collectives, [.. _links.Hosts.Select(host => host[0])], HostOf(_all.Rank));

    private int HostOf(int rank) => _links.Hosts.Select((host, i) => (host, i)).First(one => one.host.Contains(rank)).i;

    private void Finish(Block buffer, ScalarType type, ReduceOp op)
    {
        if (op != ReduceOp.Avg)
        {
            return;
        }

        const int step = 1 << 20;
        for (long at = 0; at < buffer.Length; at += step)
        {
            Reduction.Finish(type, op, buffer.Span(at, step), World);
        }
    }

    private Block[] Copy(Block[] parts)
    {
        Block all = _copies.Take(parts.Sum(part => part.Length));
        var copies = new Block[parts.Length];
        long at = 0;
        for (int i = 0; i < parts.Length; i++)
        {
            copies[i] = all.Slice(at, parts[i].Length);
            parts[i].CopyTo(copies[i]);
            at += parts[i].Length;
        }

        return copies;
    }

    private static int IndexOf(IReadOnlyList<int> ranks, int rank)
    {
        for (int i = 0; i < ranks.Count; i++)
        {
            if (ranks[i] == rank)
            {
                return i;
            }
        }

        return -1;
    }
}

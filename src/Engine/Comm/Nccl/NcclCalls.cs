using DeepSpeedSharp.Engine.Native;

namespace DeepSpeedSharp.Engine.Comm.Nccl;

/// <summary>Which of NCCL's functions make up a collective.</summary>
/// <remarks>Pieces of equal length that follow each other are NCCL's own all-gather and reduce-scatter; others are a group of
/// broadcasts or reductions, and all-to-all, scatter and gather are groups of sends and receives ("NCCL user guide,
/// point-to-point communication").</remarks>
internal static unsafe class NcclCalls
{
    private const int Success = 0, InProgress = 7;

    /// <summary>Refuses what NCCL cannot do.</summary>
    /// <exception cref="ArgumentException">The operator or element type is not one of NCCL's.</exception>
    public static void Check(Collective call)
    {
        if (call.Kind is not (CollectiveKind.AllReduce or CollectiveKind.Reduce or CollectiveKind.ReduceScatter) || call.Type is not { } type)
        {
            return;
        }

        if (call.Op is ReduceOp.Band or ReduceOp.Bor or ReduceOp.Bxor)
        {
            throw new ArgumentException($"{call}: NCCL has no {call.Op}; use a tensor on the CPU");
        }

        if (NcclTypes.Of(type) is null)
        {
            throw new ArgumentException($"{call}: NCCL cannot reduce {type}; use a tensor on the CPU, or another type");
        }
    }

    /// <summary>Starts collectives; within a group of NCCL's.</summary>
    /// <returns>The first status that is no success.</returns>
    public static int Start(NcclLibrary nccl, nint communicator, nint stream, IReadOnlyList<Collective> calls, int rank)
    {
        int status = Success;
        for (int i = 0; i < calls.Count && status is Success or InProgress; i++)
        {
            status = Start(nccl, communicator, stream, calls[i], rank);
        }

        return status;
    }

    /// <summary>A send; NCCL has no tags.</summary>
    public static Func<NcclLibrary, nint, nint, int> Send(Piece piece, int peer, int tag, string name)
    {
        RefuseTag(tag, name);
        (nint address, nuint count, NcclType type) = Moved(piece);
        return (nccl, communicator, stream) => nccl.Send(address, count, type, peer, communicator, stream);
    }

    /// <summary>A receive.</summary>
    public static Func<NcclLibrary, nint, nint, int> Receive(Piece piece, int peer, int tag, string name)
    {
        RefuseTag(tag, name);
        (nint address, nuint count, NcclType type) = Moved(piece);
        return (nccl, communicator, stream) => nccl.Recv(address, count, type, peer, communicator, stream);
    }

    /// <summary>Whether pieces of one tensor have the same length and follow each other.</summary>
    internal static bool AreEven(IReadOnlyList<Piece> pieces)
    {
        for (int i = 1; i < pieces.Count; i++)
        {
            if (pieces[i].Length != pieces[0].Length || pieces[i].Start != pieces[i - 1].Start + pieces[i - 1].Length
                || !ReferenceEquals(pieces[i].Tensor, pieces[0].Tensor))
            {
                return false;
            }
        }

        return true;
    }

    private static int Start(NcclLibrary nccl, nint communicator, nint stream, Collective call, int rank)
    {
        switch (call.Kind)
        {
            case CollectiveKind.AllReduce:
                (nint all, nuint allCount, NcclType allType) = Typed(call.Inputs[0]);
                return nccl.AllReduce(all, all, allCount, allType, Reduction(call.Op), communicator, stream);
            case CollectiveKind.Reduce:
                (nint one, nuint oneCount, NcclType oneType) = Typed(call.Inputs[0]);
                return nccl.Reduce(one, one, oneCount, oneType, Reduction(call.Op), call.Root, communicator, stream);
            case CollectiveKind.Broadcast:
                (nint moved, nuint movedCount, NcclType movedType) = Moved(call.Inputs[0]);
                return nccl.Broadcast(moved, moved, movedCount, movedType, call.Root, communicator, stream);
            case CollectiveKind.ReduceScatter:
                return ReduceScatter(nccl, communicator, stream, call, rank);
            case CollectiveKind.AllGather:
                return AllGather(nccl, communicator, stream, call, rank);
            case CollectiveKind.AllToAll:
            case CollectiveKind.Scatter:
            case CollectiveKind.Gather:
                return Exchange(nccl, communicator, stream, call);
            default:
                throw new InvalidOperationException($"{call.Kind} moves nothing between GPUs");
        }
    }

    private static int ReduceScatter(NcclLibrary nccl, nint communicator, nint stream, Collective call, int rank)
    {
        NcclReduction op = Reduction(call.Op);
        Piece result = call.Outputs.Count > 0 ? call.Outputs[0] : call.Inputs[rank];
        if (AreEven(call.Inputs))
        {
            (nint send, nuint count, NcclType type) = Typed(call.Inputs[0]);
            return nccl.ReduceScatter(send, Address(result), count, type, op, communicator, stream);
        }

        int status = Success;
        for (int owner = 0; owner < call.Inputs.Count && status is Success or InProgress; owner++)
        {
            if (call.Inputs[owner].Length > 0)
            {
                (nint send, nuint count, NcclType type) = Typed(call.Inputs[owner]);
                status = nccl.Reduce(send, owner == rank ? Address(result) : send, count, type, op, owner, communicator, stream);
            }
        }

        return status;
    }

    private static int AllGather(NcclLibrary nccl, nint communicator, nint stream, Collective call, int rank)
    {
        nint mine = Address(call.Inputs.Count > 0 ? call.Inputs[0] : call.Outputs[rank]);
        if (AreEven(call.Outputs))
        {
            (nint receive, nuint count, NcclType type) = Moved(call.Outputs[0]);
            return nccl.AllGather(mine, receive, count, type, communicator, stream);
        }

        int status = Success;
        for (int owner = 0; owner < call.Outputs.Count && status is Success or InProgress; owner++)
        {
            if (call.Outputs[owner].Length > 0)
            {
                (nint receive, nuint count, NcclType type) = Moved(call.Outputs[owner]);
                status = nccl.Broadcast(owner == rank ? mine : receive, receive, count, type, owner, communicator, stream);
            }
        }

        return status;
    }

    // One piece per rank, for it or from it; where there is only one, its partner is the root.
    private static int Exchange(NcclLibrary nccl, nint communicator, nint stream, Collective call)
    {
        bool sendsToAll = call.Kind != CollectiveKind.Gather;
        bool receivesFromAll = call.Kind != CollectiveKind.Scatter;
        int status = Success;
        for (int i = 0; i < call.Inputs.Count && status is Success or InProgress; i++)
        {
            if (call.Inputs[i].Length > 0)
            {
                (nint address, nuint count, NcclType type) = Moved(call.Inputs[i]);
                status = nccl.Send(address, count, type, sendsToAll ? i : call.Root, communicator, stream);
            }
        }

        for (int i = 0; i < call.Outputs.Count && status is Success or InProgress; i++)
        {
            if (call.Outputs[i].Length > 0)
            {
                (nint address, nuint count, NcclType type) = Moved(call.Outputs[i]);
                status = nccl.Recv(address, count, type, receivesFromAll ? i : call.Root, communicator, stream);
            }
        }

        return status;
    }

    private static nint Address(Piece piece) => TensorMemory.Address(piece.Tensor) + (nint)(piece.Start * piece.Tensor.element_size());

    private static (nint Address, nuint Count, NcclType Type) Typed(Piece piece) =>
        (Address(piece), (nuint)piece.Length, NcclTypes.Of(piece.Tensor.dtype)!.Value);

    // What is only moved may be of any type: its bytes are.
    private static (nint Address, nuint Count, NcclType Type) Moved(Piece piece) => NcclTypes.Of(piece.Tensor.dtype) is { } type
        ? (Address(piece), (nuint)piece.Length, type)
        : (Address(piece), (nuint)(piece.Length * piece.Tensor.element_size()), NcclType.UInt8);

    private static NcclReduction Reduction(ReduceOp op) => op switch
    {
        ReduceOp.Sum => NcclReduction.Sum,
        ReduceOp.Avg => NcclReduction.Average,
        ReduceOp.Product => NcclReduction.Product,
        ReduceOp.Min => NcclReduction.Min,
        ReduceOp.Max => NcclReduction.Max,
        _ => throw new InvalidOperationException($"NCCL has no {op}"), // checked before
    };

    private static void RefuseTag(int tag, string name)
    {
        if (tag != 0)
        {
            throw new ArgumentException($"Send or Receive of {name}: NCCL has no tags, and {tag} was given; use 0, or a tensor on the CPU",
                nameof(tag));
        }
    }
}

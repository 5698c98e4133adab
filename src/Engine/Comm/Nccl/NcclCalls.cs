using DeepSpeedSharp.Engine.Native;

namespace DeepSpeedSharp.Engine.Comm.Nccl;

/// <summary>Which of NCCL's functions make up a collective.</summary>
/// <remarks>Pieces of equal length that follow each other are NCCL's own all-gather and reduce-scatter; others are a group of
/// broadcasts or reductions, and all-to-all, scatter and gather are groups of sends and receives ("NCCL user guide,
/// point-to-point communication").</remarks>
internal static unsafe class NcclCalls
{
    private const int Success = 0, InProgress = 7;

    /// <summary>Where a piece is.</summary>
    /// <param name="Address">Its first element.</param>
    /// <param name="Length">Number of elements.</param>
    /// <param name="Bytes">Their size.</param>
    /// <param name="Type">Their type.</param>
    internal readonly record struct Place(nint Address, long Length, nint Bytes, TorchSharp.torch.ScalarType Type)
    {
        public static Place Of(Piece piece)
        {
            long size = piece.Tensor.element_size();
            return new Place(TensorMemory.Address(piece.Tensor) + (nint)(piece.Start * size), piece.Length, (nint)(piece.Length * size), piece.Tensor.dtype);
        }
    }

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

    /// <summary>Collectives as NCCL wants them. The tensors are looked at here only.</summary>
    /// <returns>Starts them, within a group of NCCL's; gives the first status that is no success.</returns>
    public static Func<NcclLibrary, nint, nint, int> Collectives(IReadOnlyList<Collective> calls, int rank)
    {
        var prepared = new (Collective Call, Place[] Inputs, Place[] Outputs)[calls.Count];
        for (int i = 0; i < prepared.Length; i++)
        {
            prepared[i] = (calls[i], Places(calls[i].Inputs), Places(calls[i].Outputs));
        }

        return (nccl, communicator, stream) =>
        {
            int status = Success;
            for (int i = 0; i < prepared.Length && status is Success or InProgress; i++)
            {
                status = Start(nccl, communicator, stream, prepared[i].Call, prepared[i].Inputs, prepared[i].Outputs, rank);
            }

            return status;
        };
    }

    /// <summary>A send; NCCL has no tags.</summary>
    public static Func<NcclLibrary, nint, nint, int> Send(Piece piece, int peer, int tag, string name)
    {
        RefuseTag(tag, name);
        (nint address, nuint count, NcclType type) = Moved(Place.Of(piece));
        return (nccl, communicator, stream) => nccl.Send(address, count, type, peer, communicator, stream);
    }

    /// <summary>A receive.</summary>
    public static Func<NcclLibrary, nint, nint, int> Receive(Piece piece, int peer, int tag, string name)
    {
        RefuseTag(tag, name);
        (nint address, nuint count, NcclType type) = Moved(Place.Of(piece));
        return (nccl, communicator, stream) => nccl.Recv(address, count, type, peer, communicator, stream);
    }

    /// <summary>Whether pieces have the same length and follow each other.</summary>
    internal static bool AreEven(ReadOnlySpan<Place> places)
    {
        for (int i = 1; i < places.Length; i++)
        {
            if (places[i].Length != places[0].Length || places[i].Address != places[i - 1].Address + places[i - 1].Bytes)
            {
                return false;
            }
        }

        return true;
    }

    private static int Start(NcclLibrary nccl, nint communicator, nint stream, Collective call, Place[] inputs, Place[] outputs, int rank)
    {
        switch (call.Kind)
        {
            case CollectiveKind.AllReduce:
                (nint all, nuint allCount, NcclType allType) = Typed(inputs[0]);
                return nccl.AllReduce(all, all, allCount, allType, Reduction(call.Op), communicator, stream);
            case CollectiveKind.Reduce:
                (nint one, nuint oneCount, NcclType oneType) = Typed(inputs[0]);
                return nccl.Reduce(one, one, oneCount, oneType, Reduction(call.Op), call.Root, communicator, stream);
            case CollectiveKind.Broadcast:
                (nint moved, nuint movedCount, NcclType movedType) = Moved(inputs[0]);
                return nccl.Broadcast(moved, moved, movedCount, movedType, call.Root, communicator, stream);
            case CollectiveKind.ReduceScatter:
                return ReduceScatter(nccl, communicator, stream, Reduction(call.Op), inputs, outputs, rank);
            case CollectiveKind.AllGather:
                return AllGather(nccl, communicator, stream, inputs, outputs, rank);
            case CollectiveKind.AllToAll:
            case CollectiveKind.Scatter:
            case CollectiveKind.Gather:
                return Exchange(nccl, communicator, stream, call, inputs, outputs);
            default:
                throw new InvalidOperationException($"{call.Kind} moves nothing between GPUs");
        }
    }

    private static int ReduceScatter(NcclLibrary nccl, nint communicator, nint stream, NcclReduction op, Place[] inputs, Place[] outputs, int rank)
    {
        nint result = (outputs.Length > 0 ? outputs[0] : inputs[rank]).Address;
        if (AreEven(inputs))
        {
            (nint send, nuint count, NcclType type) = Typed(inputs[0]);
            return nccl.ReduceScatter(send, result, count, type, op, communicator, stream);
        }

        int status = Success;
        for (int owner = 0; owner < inputs.Length && status is Success or InProgress; owner++)
        {
            if (inputs[owner].Length > 0)
            {
                (nint send, nuint count, NcclType type) = Typed(inputs[owner]);
                status = nccl.Reduce(send, owner == rank ? result : send, count, type, op, owner, communicator, stream);
            }
        }

        return status;
    }

    private static int AllGather(NcclLibrary nccl, nint communicator, nint stream, Place[] inputs, Place[] outputs, int rank)
    {
        nint mine = (inputs.Length > 0 ? inputs[0] : outputs[rank]).Address;
        if (AreEven(outputs))
        {
            (nint receive, nuint count, NcclType type) = Moved(outputs[0]);
            return nccl.AllGather(mine, receive, count, type, communicator, stream);
        }

        int status = Success;
        for (int owner = 0; owner < outputs.Length && status is Success or InProgress; owner++)
        {
            if (outputs[owner].Length > 0)
            {
                (nint receive, nuint count, NcclType type) = Moved(outputs[owner]);
                status = nccl.Broadcast(owner == rank ? mine : receive, receive, count, type, owner, communicator, stream);
            }
        }

        return status;
    }

    // One piece per rank, for it or from it; where there is only one, its partner is the root.
    private static int Exchange(NcclLibrary nccl, nint communicator, nint stream, Collective call, Place[] inputs, Place[] outputs)
    {
        bool sendsToAll = call.Kind != CollectiveKind.Gather;
        bool receivesFromAll = call.Kind != CollectiveKind.Scatter;
        int status = Success;
        for (int i = 0; i < inputs.Length && status is Success or InProgress; i++)
        {
            if (inputs[i].Length > 0)
            {
                (nint address, nuint count, NcclType type) = Moved(inputs[i]);
                status = nccl.Send(address, count, type, sendsToAll ? i : call.Root, communicator, stream);
            }
        }

        for (int i = 0; i < outputs.Length && status is Success or InProgress; i++)
        {
            if (outputs[i].Length > 0)
            {
                (nint address, nuint count, NcclType type) = Moved(outputs[i]);
                status = nccl.Recv(address, count, type, receivesFromAll ? i : call.Root, communicator, stream);
            }
        }

        return status;
    }

    private static Place[] Places(IReadOnlyList<Piece> pieces)
    {
        Place[] places = pieces.Count == 0 ? [] : new Place[pieces.Count];
        for (int i = 0; i < places.Length; i++)
        {
            places[i] = Place.Of(pieces[i]);
        }

        return places;
    }

    private static (nint Address, nuint Count, NcclType Type) Typed(Place place) => (place.Address, (nuint)place.Length, NcclTypes.Of(place.Type)!.Value);

    // What is only moved may be of any type: its bytes are.
    private static (nint Address, nuint Count, NcclType Type) Moved(Place place) => NcclTypes.Of(place.Type) is { } type
        ? (place.Address, (nuint)place.Length, type)
        : (place.Address, (nuint)place.Bytes, NcclType.UInt8);

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

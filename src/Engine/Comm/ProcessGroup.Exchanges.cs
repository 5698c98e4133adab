namespace DeepSpeedSharp.Engine.Comm;

// All-gather, broadcast, scatter, gather and all-to-all: values are moved, not combined.
public sealed partial class ProcessGroup
{
    /// <summary>Gives every rank the tensors of all ranks, one behind the other (<c>all_gather_into_tensor</c>).</summary>
    /// <param name="output">Contiguous, [ranks * n].</param>
    /// <param name="input">Contiguous, [n], the same n on every rank; may be this rank's part of the output.</param>
    /// <param name="name">What is gathered, for messages.</param>
    /// <exception cref="PeerLostException">Another rank ended or hangs.</exception>
    public void AllGather(Tensor output, Tensor input, string name = "tensor") => Run(AllGatherOf(Equal(output, input, "output", name), input, name));

    /// <summary>Starts <see cref="AllGather(Tensor, Tensor, string)"/>.</summary>
    public Work AllGatherAsync(Tensor output, Tensor input, string name = "tensor") =>
        Begin(AllGatherOf(Equal(output, input, "output", name), input, name));

    /// <summary>Starts giving every rank the tensors of all ranks, whose lengths may differ (<c>all_gather</c>).</summary>
    /// <param name="outputs">Contiguous, one per rank, as long as that rank's input.</param>
    /// <param name="input">Contiguous, of the same type.</param>
    /// <param name="name">What is gathered, for messages.</param>
    /// <returns>Wait for it before an output is read.</returns>
    public Work AllGatherAsync(IReadOnlyList<Tensor> outputs, Tensor input, string name = "tensor") =>
        Begin(AllGatherOf(OnePerRank(outputs, name), input, name));

    /// <summary>Starts several all-gathers in one go.</summary>
    /// <param name="outputs">As for <see cref="AllGather(Tensor, Tensor, string)"/>, of one type and device.</param>
    /// <param name="inputs">As there, one for each output.</param>
    /// <param name="name">What is gathered, for messages.</param>
    /// <returns>Wait for it before an output is read.</returns>
    public Work AllGatherCoalesced(IReadOnlyList<Tensor> outputs, IReadOnlyList<Tensor> inputs, string name = "tensors")
    {
        TensorChecks.SameCount(outputs, inputs, name);
        return Begin([.. outputs.Select((output, i) => AllGatherOf(Equal(output, inputs[i], "output", name), inputs[i], name))]);
    }

    /// <summary>Gives every rank the parts of a tensor that the ranks own.</summary>
    /// <param name="tensor">Contiguous, of any type, the same number of elements on every rank.</param>
    /// <param name="ranges">The elements that each rank owns, the same list on every rank; some may be empty.</param>
    /// <param name="name">What is gathered, for messages.</param>
    /// <param name="bucketElements">Largest number of elements that are gathered at a time.</param>
    /// <exception cref="PeerLostException">Another rank ended or hangs.</exception>
    internal void AllGather(Tensor tensor, IReadOnlyList<ElementRange> ranges, string name, long bucketElements = long.MaxValue) =>
        Run(AllGatherOf(tensor, ranges, name, bucketElements));

    /// <summary>Starts giving every rank the parts of a tensor that the ranks own.</summary>
    /// <param name="tensor">As for <see cref="AllGather(Tensor, IReadOnlyList{ElementRange}, string, long)"/>.</param>
    /// <param name="ranges">The elements that each rank owns, the same list on every rank; some may be empty.</param>
    /// <param name="name">What is gathered, for messages.</param>
    /// <param name="bucketElements">Largest number of elements that are gathered at a time.</param>
    /// <returns>Wait for it before the tensor is read.</returns>
    internal Work AllGatherAsync(Tensor tensor, IReadOnlyList<ElementRange> ranges, string name, long bucketElements = long.MaxValue) =>
        Begin(AllGatherOf(tensor, ranges, name, bucketElements));

    /// <summary>Copies one rank's tensor to all ranks.</summary>
    /// <param name="tensor">Contiguous; the same shape and type on every rank.</param>
    /// <param name="root">The rank of the group whose values are copied.</param>
    /// <param name="name">What is copied, for messages.</param>
    /// <exception cref="PeerLostException">Another rank ended or hangs.</exception>
    public void Broadcast(Tensor tensor, int root = 0, string name = "tensor") => Run(BroadcastOf(tensor, root, name));

    /// <summary>Starts copying one rank's tensor to all ranks; the arguments are those of <see cref="Broadcast(Tensor, int, string)"/>.</summary>
    public Work BroadcastAsync(Tensor tensor, int root = 0, string name = "tensor") => Begin(BroadcastOf(tensor, root, name));

    /// <summary>Gives each rank one of the root's tensors.</summary>
    /// <param name="output">Contiguous; receives this rank's.</param>
    /// <param name="inputs">On the root one contiguous tensor per rank, as long as that rank's output; ignored elsewhere.</param>
    /// <param name="root">The rank of the group that gives.</param>
    /// <param name="name">What is scattered, for messages.</param>
    /// <exception cref="PeerLostException">Another rank ended or hangs.</exception>
    public void Scatter(Tensor output, IReadOnlyList<Tensor>? inputs, int root = 0, string name = "tensor") =>
        Run(ScatterOf(output, inputs, root, name));

    /// <summary>Starts <see cref="Scatter"/>.</summary>
    public Work ScatterAsync(Tensor output, IReadOnlyList<Tensor>? inputs, int root = 0, string name = "tensor") =>
        Begin(ScatterOf(output, inputs, root, name));

    /// <summary>Gives the root the tensors of all ranks.</summary>
    /// <param name="input">Contiguous.</param>
    /// <param name="outputs">On the root one contiguous tensor per rank, as long as that rank's input; ignored elsewhere.</param>
    /// <param name="root">The rank of the group that gets them.</param>
    /// <param name="name">What is gathered, for messages.</param>
    /// <exception cref="PeerLostException">Another rank ended or hangs.</exception>
    public void Gather(Tensor input, IReadOnlyList<Tensor>? outputs, int root = 0, string name = "tensor") =>
        Run(GatherOf(input, outputs, root, name));

    /// <summary>Starts <see cref="Gather"/>.</summary>
    public Work GatherAsync(Tensor input, IReadOnlyList<Tensor>? outputs, int root = 0, string name = "tensor") =>
        Begin(GatherOf(input, outputs, root, name));

    /// <summary>Gives each rank a part of every rank's tensor (<c>all_to_all_single</c>).</summary>
    /// <param name="output">Contiguous; what rank i sent stands behind what rank i-1 sent.</param>
    /// <param name="input">Contiguous, of the same type; the part for rank i stands behind the part for rank i-1.</param>
    /// <param name="outputSplits">Elements that come from each rank; null for equal parts.</param>
    /// <param name="inputSplits">Elements that go to each rank; null for equal parts.</param>
    /// <param name="name">What is exchanged, for messages.</param>
    /// <exception cref="PeerLostException">Another rank ended or hangs.</exception>
    public void AllToAll(Tensor output, Tensor input, IReadOnlyList<long>? outputSplits = null, IReadOnlyList<long>? inputSplits = null,
        string name = "tensor") => Run(AllToAllOf(Split(output, outputSplits, "output", name), Split(input, inputSplits, "input", name), name));

    /// <summary>Starts <see cref="AllToAll"/>.</summary>
    public Work AllToAllAsync(Tensor output, Tensor input, IReadOnlyList<long>? outputSplits = null, IReadOnlyList<long>? inputSplits = null,
        string name = "tensor") => Begin(AllToAllOf(Split(output, outputSplits, "output", name), Split(input, inputSplits, "input", name), name));

    /// <summary>Starts giving each rank one of every rank's tensors (<c>all_to_all</c>).</summary>
    /// <param name="outputs">Contiguous, one per rank, as long as what that rank sends.</param>
    /// <param name="inputs">Contiguous, of the same type, one for each rank.</param>
    /// <param name="name">What is exchanged, for messages.</param>
    /// <returns>Wait for it before an output is read.</returns>
    public Work AllToAllAsync(IReadOnlyList<Tensor> outputs, IReadOnlyList<Tensor> inputs, string name = "tensors") =>
        Begin(AllToAllOf(OnePerRank(outputs, name), OnePerRank(inputs, name), name));

    private Collective AllGatherOf(Piece[] outputs, Tensor input, string name)
    {
        TensorChecks.Fits(outputs[Rank], input, CollectiveKind.AllGather, name);
        return new Collective(CollectiveKind.AllGather, name) { Inputs = [Piece.Of(input)], Outputs = outputs };
    }

    private static Collective AllGatherOf(Tensor tensor, IReadOnlyList<ElementRange> ranges, string name, long bucketElements) =>
        new(CollectiveKind.AllGather, name) { Outputs = Piece.Cut(TensorChecks.Contiguous(tensor, name), ranges), RoundElements = bucketElements };

    private Collective BroadcastOf(Tensor tensor, int root, string name) =>
        new(CollectiveKind.Broadcast, name) { Inputs = [Piece.Of(TensorChecks.Contiguous(tensor, name))], Root = Member(root) };

    private Collective ScatterOf(Tensor output, IReadOnlyList<Tensor>? inputs, int root, string name)
    {
        Piece[] given = Member(root) == Rank ? OnePerRank(inputs ?? [], name) : [];
        TensorChecks.Fits(given.Length > 0 ? given[Rank] : Piece.Of(output), output, CollectiveKind.Scatter, name);
        return new Collective(CollectiveKind.Scatter, name) { Inputs = given, Outputs = [Piece.Of(output)], Root = root };
    }

    private Collective GatherOf(Tensor input, IReadOnlyList<Tensor>? outputs, int root, string name)
    {
        Piece[] taken = Member(root) == Rank ? OnePerRank(outputs ?? [], name) : [];
        TensorChecks.Fits(taken.Length > 0 ? taken[Rank] : Piece.Of(input), input, CollectiveKind.Gather, name);
        return new Collective(CollectiveKind.Gather, name) { Inputs = [Piece.Of(input)], Outputs = taken, Root = root };
    }

    private Collective AllToAllOf(Piece[] outputs, Piece[] inputs, string name)
    {
        TensorChecks.Alike(outputs[0].Tensor, inputs[0].Tensor, name);
        if (outputs[Rank].Length != inputs[Rank].Length)
        {
            throw new ArgumentException($"AllToAll of {name}: rank {Rank} gives {inputs[Rank].Length} elements to itself and takes {outputs[Rank].Length}; "
                + "the two are the same part");
        }

        return new Collective(CollectiveKind.AllToAll, name) { Inputs = inputs, Outputs = outputs };
    }

    // One rank's part after the other.
    private Piece[] Equal(Tensor whole, Tensor part, string which, string name)
    {
        TensorChecks.Contiguous(whole, name);
        long length = part.numel();
        return whole.numel() == length * WorldSize ? [.. Enumerable.Range(0, WorldSize).Select(i => new Piece(whole, i * length, length))]
            : throw new ArgumentException($"{name}: the {which} has {whole.numel()} elements, not {WorldSize} (ranks) x {length} = {length * WorldSize}");
    }

    private Piece[] Split(Tensor whole, IReadOnlyList<long>? splits, string which, string name)
    {
        TensorChecks.Contiguous(whole, name);
        if (splits is null)
        {
            return whole.numel() % WorldSize == 0
                ? [.. Enumerable.Range(0, WorldSize).Select(i => new Piece(whole, i * (whole.numel() / WorldSize), whole.numel() / WorldSize))]
                : throw new ArgumentException($"{name}: the {which} has {whole.numel()} elements, which {WorldSize} ranks do not divide; give {which}Splits");
        }

        if (splits.Count != WorldSize || splits.Any(length => length < 0) || splits.Sum() != whole.numel())
        {
            throw new ArgumentException($"{name}: {which}Splits [{string.Join(", ", splits)}] are not {WorldSize} lengths (one per rank) that add up "
                + $"to the {whole.numel()} elements of the {which}");
        }

        var pieces = new Piece[WorldSize];
        long start = 0;
        for (int i = 0; i < WorldSize; i++)
        {
            pieces[i] = new Piece(whole, start, splits[i]);
            start += splits[i];
        }

        return pieces;
    }

    private Piece[] OnePerRank(IReadOnlyList<Tensor> tensors, string name)
    {
        if (tensors.Count != WorldSize)
        {
            throw new ArgumentException($"{name}: {tensors.Count} tensors for {WorldSize} ranks; give one per rank");
        }

        foreach (Tensor tensor in tensors)
        {
            TensorChecks.Alike(tensor, tensors[0], name);
        }

        return [.. tensors.Select(Piece.Of)];
    }

    private int Member(int rank) => rank >= 0 && rank < WorldSize ? rank
        : throw new ArgumentOutOfRangeException(nameof(rank), $"there is no rank {rank} in a group of {WorldSize}; ranks of a group count from 0");
}

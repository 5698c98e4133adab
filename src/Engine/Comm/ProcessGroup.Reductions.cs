namespace DeepSpeedSharp.Engine.Comm;

// All-reduce, reduce and reduce-scatter.
public sealed partial class ProcessGroup
{
    /// <summary>Sums a tensor over all ranks, in place.</summary>
    /// <param name="tensor">Contiguous, the same number of elements on every rank.</param>
    /// <param name="name">What is reduced, for messages.</param>
    /// <exception cref="PeerLostException">Another rank ended or hangs.</exception>
    public void AllReduce(Tensor tensor, string name = "tensor") => AllReduce(tensor, ReduceOp.Sum, name);

    /// <summary>Combines a tensor over all ranks, in place.</summary>
    /// <param name="tensor">Contiguous, the same number of elements on every rank.</param>
    /// <param name="op">How values are combined.</param>
    /// <param name="name">What is reduced, for messages.</param>
    /// <exception cref="PeerLostException">Another rank ended or hangs.</exception>
    public void AllReduce(Tensor tensor, ReduceOp op, string name = "tensor") => Run(AllReduceOf(tensor, op, name));

    /// <summary>Starts summing a tensor over all ranks, in place.</summary>
    /// <param name="tensor">As for <see cref="AllReduce(Tensor, string)"/>; not to be touched or disposed until the work has ended.</param>
    /// <param name="name">What is reduced, for messages.</param>
    /// <returns>Wait for it before the sum is read.</returns>
    public Work AllReduceAsync(Tensor tensor, string name = "tensor") => AllReduceAsync(tensor, ReduceOp.Sum, name);

    /// <summary>Starts combining a tensor over all ranks, in place.</summary>
    /// <param name="tensor">As for <see cref="AllReduce(Tensor, string)"/>; not to be touched or disposed until the work has ended.</param>
    /// <param name="op">How values are combined.</param>
    /// <param name="name">What is reduced, for messages.</param>
    /// <returns>Wait for it before the result is read.</returns>
    public Work AllReduceAsync(Tensor tensor, ReduceOp op, string name = "tensor") => Begin(AllReduceOf(tensor, op, name));

    /// <summary>Starts combining several tensors over all ranks, each in place, in one go.</summary>
    /// <param name="tensors">Contiguous, of one type and device, the same shapes on every rank.</param>
    /// <param name="op">How values are combined.</param>
    /// <param name="name">What is reduced, for messages.</param>
    /// <returns>Wait for it before a result is read.</returns>
    public Work AllReduceCoalesced(IReadOnlyList<Tensor> tensors, ReduceOp op = ReduceOp.Sum, string name = "tensors") =>
        Begin([.. tensors.Select(tensor => AllReduceOf(tensor, op, name))]);

    /// <summary>Combines a tensor over all ranks at one of them.</summary>
    /// <param name="tensor">Contiguous, the same number of elements on every rank. Receives the result on the root; keeps its
    /// values elsewhere.</param>
    /// <param name="root">The rank of the group that gets the result.</param>
    /// <param name="op">How values are combined.</param>
    /// <param name="name">What is reduced, for messages.</param>
    /// <exception cref="PeerLostException">Another rank ended or hangs.</exception>
    public void Reduce(Tensor tensor, int root = 0, ReduceOp op = ReduceOp.Sum, string name = "tensor") => Run(ReduceOf(tensor, root, op, name));

    /// <summary>Starts combining a tensor over all ranks at one of them; the arguments are those of <see cref="Reduce"/>.</summary>
    public Work ReduceAsync(Tensor tensor, int root = 0, ReduceOp op = ReduceOp.Sum, string name = "tensor") => Begin(ReduceOf(tensor, root, op, name));

    /// <summary>Combines a tensor over all ranks, each rank getting an equal part of the result
    /// (<c>reduce_scatter_tensor</c>).</summary>
    /// <param name="output">Contiguous, [n]; this rank's part: elements rank*n to (rank+1)*n.</param>
    /// <param name="input">Contiguous, [ranks * n], of the same type; keeps its values.</param>
    /// <param name="op">How values are combined.</param>
    /// <param name="name">What is reduced, for messages.</param>
    /// <exception cref="PeerLostException">Another rank ended or hangs.</exception>
    public void ReduceScatter(Tensor output, Tensor input, ReduceOp op = ReduceOp.Sum, string name = "tensor") =>
        Run(ReduceScatterOf(output, Equal(input, output, "input", name), op, name));

    /// <summary>Starts <see cref="ReduceScatter(Tensor, Tensor, ReduceOp, string)"/>.</summary>
    public Work ReduceScatterAsync(Tensor output, Tensor input, ReduceOp op = ReduceOp.Sum, string name = "tensor") =>
        Begin(ReduceScatterOf(output, Equal(input, output, "input", name), op, name));

    /// <summary>Starts combining one tensor per rank over all ranks, each at its rank (<c>reduce_scatter</c>).</summary>
    /// <param name="output">Contiguous; as many elements as this rank's input.</param>
    /// <param name="inputs">Contiguous, of the output's type, one per rank; lengths may differ between them, not between ranks.</param>
    /// <param name="op">How values are combined.</param>
    /// <param name="name">What is reduced, for messages.</param>
    /// <returns>Wait for it before the result is read.</returns>
    public Work ReduceScatterAsync(Tensor output, IReadOnlyList<Tensor> inputs, ReduceOp op = ReduceOp.Sum, string name = "tensor") =>
        Begin(ReduceScatterOf(output, OnePerRank(inputs, name), op, name));

    /// <summary>Starts several reduce-scatters of equal parts in one go.</summary>
    /// <param name="outputs">As for <see cref="ReduceScatter(Tensor, Tensor, ReduceOp, string)"/>, of one type and device.</param>
    /// <param name="inputs">As there, one for each output.</param>
    /// <param name="op">How values are combined.</param>
    /// <param name="name">What is reduced, for messages.</param>
    /// <returns>Wait for it before a result is read.</returns>
    public Work ReduceScatterCoalesced(IReadOnlyList<Tensor> outputs, IReadOnlyList<Tensor> inputs, ReduceOp op = ReduceOp.Sum,
        string name = "tensors")
    {
        TensorChecks.SameCount(outputs, inputs, name);
        return Begin([.. outputs.Select((output, i) => ReduceScatterOf(output, Equal(inputs[i], output, "input", name), op, name))]);
    }

    /// <summary>Starts summing a tensor over all ranks, in place, each part of it at its owner only.</summary>
    /// <param name="tensor">As for <see cref="AllReduceAsync(Tensor, string)"/>. Afterwards this rank's range holds the sum, and what
    /// other ranks own is of no use.</param>
    /// <param name="ranges">The elements that each rank owns, the same list on every rank; some may be empty.</param>
    /// <param name="name">What is reduced, for messages.</param>
    /// <returns>Wait for it before the sum is read.</returns>
    internal Work ReduceScatterAsync(Tensor tensor, IReadOnlyList<ElementRange> ranges, string name)
    {
        TensorChecks.Combinable(tensor, ReduceOp.Sum, CollectiveKind.ReduceScatter, name);
        return Begin(new Collective(CollectiveKind.ReduceScatter, name) { Inputs = Piece.Cut(tensor, ranges) });
    }

    private static Collective AllReduceOf(Tensor tensor, ReduceOp op, string name)
    {
        TensorChecks.Combinable(tensor, op, CollectiveKind.AllReduce, name);
        return new Collective(CollectiveKind.AllReduce, name) { Inputs = [Piece.Of(tensor)], Op = op };
    }

    private Collective ReduceOf(Tensor tensor, int root, ReduceOp op, string name)
    {
        TensorChecks.Combinable(tensor, op, CollectiveKind.Reduce, name);
        return new Collective(CollectiveKind.Reduce, name) { Inputs = [Piece.Of(tensor)], Root = Member(root), Op = op };
    }

    private Collective ReduceScatterOf(Tensor output, Piece[] inputs, ReduceOp op, string name)
    {
        foreach (Piece input in inputs)
        {
            TensorChecks.Combinable(input.Tensor, op, CollectiveKind.ReduceScatter, name);
        }

        TensorChecks.Fits(inputs[Rank], output, CollectiveKind.ReduceScatter, name);
        return new Collective(CollectiveKind.ReduceScatter, name) { Inputs = inputs, Outputs = [Piece.Of(output)], Op = op };
    }
}

using System.Globalization;
using TorchSharp;

namespace DeepSpeedSharp.Engine.Comm;

/// <summary>What the ranks of a group do together.</summary>
internal enum CollectiveKind
{
    AllReduce,
    Reduce,
    ReduceScatter,
    AllGather,
    Broadcast,
    Scatter,
    Gather,
    AllToAll,
    Barrier,
}

/// <summary>Consecutive elements of a contiguous tensor.</summary>
/// <param name="Tensor">Belongs to the caller and outlives the collective.</param>
/// <param name="Start">First element, in the order of memory.</param>
/// <param name="Length">Number of elements; may be zero.</param>
internal readonly record struct Piece(Tensor Tensor, long Start, long Length)
{
    /// <summary>All of a tensor.</summary>
    public static Piece Of(Tensor tensor) => new(tensor, 0, tensor.numel());

    /// <summary>Cuts a tensor.</summary>
    public static Piece[] Cut(Tensor tensor, IReadOnlyList<ElementRange> ranges) =>
        [.. ranges.Select(range => new Piece(tensor, range.Start, range.Length))];
}

/// <summary>One call of a collective, checked, as a backend carries it out. All pieces are of one type and on one device.</summary>
/// <param name="Kind">What is done.</param>
/// <param name="Name">What is moved, for messages; in debug mode the same on every rank.</param>
internal sealed record Collective(CollectiveKind Kind, string Name)
{
    /// <summary>What this rank gives.
    /// <list type="bullet">
    /// <item>AllReduce, Reduce, Broadcast: one piece, that is also the output.</item>
    /// <item>ReduceScatter, AllToAll: one piece per rank, for that rank. Of ReduceScatter's, the others' may be overwritten
    /// with partial results when <see cref="Outputs"/> is empty.</item>
    /// <item>AllGather, Gather: one piece. None for AllGather where this rank's output is filled beforehand.</item>
    /// <item>Scatter: one piece per rank on the root, none elsewhere.</item>
    /// </list></summary>
    public IReadOnlyList<Piece> Inputs { get; init; } = [];

    /// <summary>What this rank gets.
    /// <list type="bullet">
    /// <item>AllReduce, Reduce, Broadcast: none, the result replaces the input (of Reduce on the root only).</item>
    /// <item>ReduceScatter: one piece, or none where this rank's input piece receives the result.</item>
    /// <item>AllGather, AllToAll: one piece per rank, from that rank.</item>
    /// <item>Scatter: one piece.</item>
    /// <item>Gather: one piece per rank on the root, none elsewhere.</item>
    /// </list></summary>
    public IReadOnlyList<Piece> Outputs { get; init; } = [];

    /// <summary>How values are combined, for the three kinds that do.</summary>
    public ReduceOp Op { get; init; }

    /// <summary>The rank that gives or gets, in the group's numbers, for the kinds that have one.</summary>
    public int Root { get; init; }

    /// <summary>AllGather: the largest number of elements, over all ranks, that should be under way at a time.</summary>
    public long RoundElements { get; init; } = long.MaxValue;

    /// <summary>Element type; null where nothing is moved.</summary>
    public torch.ScalarType? Type => Inputs.Count > 0 ? Inputs[0].Tensor.dtype : Outputs.Count > 0 ? Outputs[0].Tensor.dtype : null;

    /// <summary>Device of the pieces; null where nothing is moved.</summary>
    public torch.Device? Device => Inputs.Count > 0 ? Inputs[0].Tensor.device : Outputs.Count > 0 ? Outputs[0].Tensor.device : null;

    /// <summary>Size of the message: the larger of what this rank gives and gets.</summary>
    public long Bytes => Math.Max(SizeOf(Inputs), SizeOf(Outputs));

    /// <summary>For messages: <c>AllReduce of bucket 7 (25.0 MiB)</c>.</summary>
    public override string ToString() => Kind == CollectiveKind.Barrier ? $"Barrier at {Name}"
        : string.Create(CultureInfo.InvariantCulture, $"{Kind} of {Name} ({Bytes / 1048576.0:0.0###} MiB)");

    private static long SizeOf(IReadOnlyList<Piece> pieces)
    {
        long elements = 0;
        for (int i = 0; i < pieces.Count; i++)
        {
            elements += pieces[i].Length;
        }

        return elements == 0 ? 0 : elements * pieces[0].Tensor.element_size();
    }
}

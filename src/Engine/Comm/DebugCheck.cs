using System.Text;
using DeepSpeedSharp.Engine.Comm.Algorithms;
using DeepSpeedSharp.Engine.Comm.Transport;

namespace DeepSpeedSharp.Engine.Comm;

/// <summary>Debug mode: before a collective moves data, all ranks compare what they have called.</summary>
/// <remarks>Set DEEPSPEED_COMM_DEBUG=1 or TORCH_DISTRIBUTED_DEBUG=DETAIL on every rank. It costs a gather of some hundred bytes per collective.</remarks>
/// <param name="watch">The ranks' names.</param>
/// <param name="algorithms">Moves the descriptions.</param>
internal sealed class DebugCheck(PeerWatch watch, HostAlgorithms algorithms)
{
    private long _number;

    /// <summary>Whether the environment asks for it.</summary>
    public static bool IsOn(Func<string, string?> read) =>
        read("DEEPSPEED_COMM_DEBUG") is { Length: > 0 } own ? own != "0" : string.Equals(read("TORCH_DISTRIBUTED_DEBUG"), "DETAIL", StringComparison.OrdinalIgnoreCase);

    /// <exception cref="CollectiveMismatchException">Ranks are in different collectives, or with tensors that do not fit.</exception>
    public void Compare(Collective call)
    {
        _number++;
        byte[][] all = algorithms.GatherBytes(Encoding.UTF8.GetBytes(Describe(call)), "comparison of calls (DEEPSPEED_COMM_DEBUG)");
        string[] texts = [.. all.Select(bytes => Encoding.UTF8.GetString(bytes))];
        IGrouping<string, int>[] groups = [.. texts.Select((text, rank) => (text, rank)).GroupBy(one => one.text, one => watch.Ranks[one.rank])];
        if (groups.Length > 1)
        {
            throw new CollectiveMismatchException($"collective {_number}: the ranks have not called the same: " + string.Join("; ", groups.Select(group =>
                $"{(group.Count() == 1 ? "rank" : "ranks")} {string.Join(", ", group)}: {group.Key}")));
        }

        string? misfit = call.Kind is CollectiveKind.AllToAll or CollectiveKind.Scatter or CollectiveKind.Gather ? Misfit(call) : null;
        if (misfit is not null)
        {
            throw new CollectiveMismatchException(misfit);
        }
    }

    // What must be the same on every rank. Parts of an all-to-all, a gather or a scatter may differ; see below.
    private static string Describe(Collective call)
    {
        string type = call.Type is { } one ? one.ToString() : "bytes";
        string op = call.Kind is CollectiveKind.AllReduce or CollectiveKind.Reduce or CollectiveKind.ReduceScatter ? $" {call.Op}" : "";
        string root = call.Kind is CollectiveKind.Reduce or CollectiveKind.Broadcast or CollectiveKind.Scatter or CollectiveKind.Gather ? $" root {call.Root}" : "";
        string sizes = call.Kind switch
        {
            CollectiveKind.AllReduce or CollectiveKind.Reduce or CollectiveKind.Broadcast or CollectiveKind.ReduceScatter => Lengths(call.Inputs),
            CollectiveKind.AllGather => Lengths(call.Outputs),
            _ => "",
        };
        string shape = call.Inputs.Count == 1 && sizes.Length > 0 ? $" of shape [{string.Join(", ", call.Inputs[0].Tensor.shape)}]" : "";
        return $"{call.Kind}{op} of {call.Name}, {type}{(sizes.Length > 0 ? $", {sizes} elements{(call.Kind == CollectiveKind.AllGather ? "" : shape)}" : "")}{root}";
    }

    // Each pair of ranks must agree on what goes from one to the other.
    private string? Misfit(Collective call)
    {
        byte[][] all = algorithms.GatherBytes(Encoding.UTF8.GetBytes($"{ForEach(call, call.Inputs, CollectiveKind.Gather)};{ForEach(call, call.Outputs, CollectiveKind.Scatter)}"), "comparison of splits (DEEPSPEED_COMM_DEBUG)");
        string[][][] lengths = [.. all.Select(bytes => Encoding.UTF8.GetString(bytes).Split(';').Select(list => list.Split('+')).ToArray())];
        for (int from = 0; from < lengths.Length; from++)
        {
            for (int to = 0; to < lengths.Length; to++)
            {
                if (lengths[from][0][to] != lengths[to][1][from])
                {
                    return $"collective {_number}, {call.Kind} of {call.Name}: rank {watch.Ranks[from]} has {lengths[from][0][to]} elements for rank "
                        + $"{watch.Ranks[to]}, which expects {lengths[to][1][from]}";
                }
            }
        }

        return null;
    }

    // What goes to each rank, or comes from each; of a scatter and a gather one side is the root alone.
    private string ForEach(Collective call, IReadOnlyList<Piece> pieces, CollectiveKind withRootOnly) => string.Join('+', Enumerable.Range(0, watch.Ranks.Count)
        .Select(rank => call.Kind == withRootOnly ? rank == call.Root ? pieces[0].Length : 0 : pieces.Count == 0 ? 0 : pieces[rank].Length));

    private static string Lengths(IReadOnlyList<Piece> pieces) => string.Join('+', pieces.Select(piece => piece.Length));
}

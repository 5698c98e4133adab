using DeepSpeedSharp.Engine.Comm;
using TorchSharp;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine.Tests.Comm;

/// <summary>Every collective, type and odd size, on every transport and layout, against a plain loop.</summary>
public sealed class EveryCollectiveTests
{
    // Nothing, one, primes, powers of two and what no number of ranks divides; beyond a slot of the board (256 KiB) and the
    // limit of short messages (64 KiB).
    private static readonly int[] Sizes = [0, 1, 2, 7, 64, 1009];
    private static readonly int[] LargeSizes = [16_411, 70_001, 200_003];

    public static TheoryData<string> Layouts => new("board:1", "board:2", "board:3", "board:5", "board:8", "links:2", "links:3", "links:4", "links:7",
        "hosts:2+2", "hosts:3+1", "hosts:2+2+2", "hosts:1+4+2", "shm:2", "shm:3", "tcp:2", "tcp:3", "net:2+2", "net:1+2");

    [Theory]
    [MemberData(nameof(Layouts))]
    public void Reductions_AnyTypeOpAndSize_EqualThePlainLoop(string layout) => Layout.Run(layout, group =>
    {
        foreach (ScalarType type in ClosedForm.Types)
        {
            foreach (ReduceOp op in ClosedForm.OpsOf(type))
            {
                foreach (int size in op == ReduceOp.Sum && type is ScalarType.Float32 or ScalarType.BFloat16 ? [.. Sizes, .. LargeSizes] : Sizes)
                {
                    using var scope = NewDisposeScope();
                    Reductions(group, type, op, size);
                }
            }
        }

        return 0;
    });

    [Theory]
    [MemberData(nameof(Layouts))]
    public void Exchanges_AnyTypeAndSize_MoveTheRightValues(string layout) => Layout.Run(layout, group =>
    {
        foreach (ScalarType type in ClosedForm.Types)
        {
            foreach (int size in type == ScalarType.Float32 ? [.. Sizes, .. LargeSizes] : Sizes)
            {
                using var scope = NewDisposeScope();
                Exchanges(group, type, size);
                Messages(group, type, size);
            }
        }

        group.Barrier();
        group.MonitoredBarrier();
        return 0;
    });

    [Theory]
    [InlineData("shm:4")]
    [InlineData("tcp:4")]
    [InlineData("net:2+2")]
    public void NewGroup_SubsetInAnyOrder_HasItsOwnNumbersAndCollectives(string layout) => Layout.Run(layout, group =>
    {
        // Ranks 3 and 1 meet in one group, 0 and 2 in another, at the same time as all meet.
        using ProcessGroup? odd = group.NewGroup([3, 1]);
        using ProcessGroup? even = group.NewGroup([0, 2]);
        ProcessGroup mine = (odd ?? even)!;
        Assert.Equal(group.Rank % 2 == 1, even is null);
        Assert.Equal(group.Rank, mine.GetGlobalRank(mine.Rank));
        Assert.Equal(mine.Rank, mine.GetGroupRank(group.Rank));
        using var scope = NewDisposeScope();
        Tensor of4 = full(1000, group.Rank + 1f), of2 = full(1000, group.Rank + 1f);
        Work all = group.AllReduceAsync(of4);
        mine.AllReduce(of2);
        all.Wait();
        Assert.Equal(10_000, of4.sum().ToSingle());
        Assert.Equal(group.Rank % 2 == 1 ? 6000 : 4000, of2.sum().ToSingle());
        Assert.Equal(odd is null ? ["0", "2"] : ["3", "1"], mine.AllGather($"{group.Rank}"));
        return 0;
    });

    [Theory]
    [InlineData("board:3")]
    [InlineData("links:3")]
    [InlineData("hosts:2+1")]
    public void BytesAndTexts_AnyLength_ArriveEverywhere(string layout) => Layout.Run(layout, group =>
    {
        foreach (int length in new[] { 0, 1, 300, 700_000 })
        {
            IReadOnlyList<byte[]> all = group.AllGather(new byte[length * (group.Rank + 1)]);
            Assert.Equal(Enumerable.Range(1, group.WorldSize).Select(rank => rank * length), all.Select(bytes => bytes.Length));
            Assert.Equal(new string('x', length), group.Broadcast(group.Rank == 1 ? new string('x', length) : null, 1));
        }

        return 0;
    });

    // The order in which values are added must not depend on anything but the layout: all ranks and runs get the same bits.
    [Theory]
    [InlineData("board:2")]
    [InlineData("board:5")]
    [InlineData("links:3")]
    [InlineData("hosts:2+2")]
    [InlineData("tcp:3")]
    public void AllReduce_AnyValues_HasTheSameBitsOnEveryRankAndInEveryRun(string layout)
    {
        float[][] first = Run(), second = Run();

        Assert.All(first.Concat(second), values => Assert.Equal(first[0], values));

        float[][] Run() => Layout.Run(layout, group =>
        {
            using var scope = NewDisposeScope();
            Tensor values = tensor([.. Enumerable.Range(0, 50_021).Select(i => (float)Math.Sin(i * 7.3 + group.Rank * 1.7) * (1 << (i % 20)))]);
            group.AllReduce(values);
            return values.data<float>().ToArray();
        });
    }

    private static void Reductions(ProcessGroup group, ScalarType type, ReduceOp op, int size)
    {
        (int rank, int world) = (group.Rank, group.WorldSize);
        string what = $"{op} of {size} {type} over {world}";
        Tensor all = ClosedForm.Make(type, op, rank, 0, size);
        group.AllReduce(all, op);
        ClosedForm.CheckCombined(all, op, world, 0, $"AllReduce, {what}");

        Tensor one = ClosedForm.Make(type, op, rank, 0, size);
        group.Reduce(one, world - 1, op);
        if (rank == world - 1)
        {
            ClosedForm.CheckCombined(one, op, world, 0, $"Reduce, {what}");
        }
        else
        {
            ClosedForm.Check(one, i => ClosedForm.Value(op, rank, i), $"input of Reduce, {what}");
        }

        Tensor input = ClosedForm.Make(type, op, rank, 0, (long)size * world), part = zeros(size, type);
        group.ReduceScatter(part, input, op);
        ClosedForm.CheckCombined(part, op, world, (long)size * rank, $"ReduceScatter, {what}");
        ClosedForm.Check(input, i => ClosedForm.Value(op, rank, i), $"input of ReduceScatter, {what}");

        // Rank r gets r * size elements.
        Tensor[] uneven = [.. Enumerable.Range(0, world).Select(r => ClosedForm.Make(type, op, rank, r * 1000L, (long)size * r))];
        Tensor mine = zeros((long)size * rank, type);
        group.ReduceScatterAsync(mine, uneven, op).Wait();
        ClosedForm.CheckCombined(mine, op, world, rank * 1000L, $"uneven ReduceScatter, {what}");

        Tensor[] several = [.. Enumerable.Range(0, 3).Select(k => ClosedForm.Make(type, op, rank, k, size))];
        group.AllReduceCoalesced(several, op).Wait();
        for (int k = 0; k < several.Length; k++)
        {
            ClosedForm.CheckCombined(several[k], op, world, k, $"coalesced AllReduce {k}, {what}");
        }
    }

    private static void Exchanges(ProcessGroup group, ScalarType type, int size)
    {
        (int rank, int world) = (group.Rank, group.WorldSize);
        string what = $"{size} {type} over {world}";
        Tensor own = ClosedForm.Make(type, ReduceOp.Sum, rank, 0, size);
        Tensor gathered = zeros((long)size * world, type);
        group.AllGather(gathered, own);
        Tensor[] lists = [.. Enumerable.Range(0, world).Select(r => zeros((long)size * r, type))];
        group.AllGatherAsync(lists, ClosedForm.Make(type, ReduceOp.Sum, rank, 0, (long)size * rank)).Wait();
        int root = world / 2;
        Tensor spread = rank == root ? ClosedForm.Make(type, ReduceOp.Sum, root, 5, size) : zeros(size, type);
        group.Broadcast(spread, root);
        ClosedForm.CheckValues(spread, root, 5, $"Broadcast of {what}");

        // Rank r gets r elements more than size from the root, which gives it values of its own.
        Tensor scattered = zeros(size + rank, type);
        group.Scatter(scattered, rank == root ? [.. Enumerable.Range(0, world).Select(r => ClosedForm.Make(type, ReduceOp.Sum, root, r, size + r))] : null, root);
        ClosedForm.CheckValues(scattered, root, rank, $"Scatter of {what}");
        Tensor[]? taken = rank == root ? [.. Enumerable.Range(0, world).Select(r => zeros(size + r, type))] : null;
        group.Gather(ClosedForm.Make(type, ReduceOp.Sum, rank, rank, size + rank), taken, root);

        // From rank s to rank r: size + (s + r) % 3 elements.
        long[] inputs = [.. Enumerable.Range(0, world).Select(r => (long)size + (rank + r) % 3)];
        Tensor output = zeros(inputs.Sum(), type);
        group.AllToAll(output, cat([.. Enumerable.Range(0, world).Select(r => ClosedForm.Make(type, ReduceOp.Sum, rank, r, inputs[r]))]), inputs, inputs);
        Tensor equal = zeros((long)size * world, type);
        group.AllToAll(equal, cat([.. Enumerable.Range(0, world).Select(r => ClosedForm.Make(type, ReduceOp.Sum, rank, r, size))]));
        long at = 0;
        for (int r = 0; r < world; r++)
        {
            ClosedForm.CheckValues(gathered.narrow(0, (long)r * size, size), r, 0, $"AllGather of {what}, rank {r}");
            ClosedForm.CheckValues(lists[r], r, 0, $"uneven AllGather of {what}, rank {r}");
            ClosedForm.CheckValues(output.narrow(0, at, inputs[r]), r, rank, $"uneven AllToAll of {what}, rank {r}");
            ClosedForm.CheckValues(equal.narrow(0, (long)r * size, size), r, rank, $"AllToAll of {what}, rank {r}");
            if (taken is not null)
            {
                ClosedForm.CheckValues(taken[r], r, r, $"Gather of {what}, rank {r}");
            }

            at += inputs[r];
        }
    }

    // All send to all at once, more than a link holds, and the second message is asked for first.
    private static void Messages(ProcessGroup group, ScalarType type, int size)
    {
        (int rank, int world) = (group.Rank, group.WorldSize);
        var works = new List<Work>();
        var received = new List<(Tensor Values, int From, int Tag)>();
        foreach (int peer in Enumerable.Range(0, world).Where(peer => peer != rank))
        {
            for (int tag = 0; tag < 2; tag++)
            {
                works.Add(group.SendAsync(ClosedForm.Make(type, ReduceOp.Sum, rank, tag, size + tag), peer, tag));
            }
        }

        foreach (int peer in Enumerable.Range(0, world).Where(peer => peer != rank))
        {
            for (int tag = 1; tag >= 0; tag--)
            {
                Tensor values = zeros(size + tag, type);
                received.Add((values, peer, tag));
                works.Add(group.ReceiveAsync(values, peer, tag));
            }
        }

        works.ForEach(work => work.Wait());
        received.ForEach(one => ClosedForm.CheckValues(one.Values, one.From, one.Tag, $"message of {size} {type} from {one.From}, tag {one.Tag}"));
    }
}

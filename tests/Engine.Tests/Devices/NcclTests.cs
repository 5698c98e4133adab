using System.Diagnostics;
using DeepSpeedSharp.Engine.Comm;
using TorchSharp;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine.Tests.Devices;

/// <summary>NCCL between processes. Each process runs one of these as a rank, with RANK and the rest in its environment, the same
/// one on all; <c>benchmarks/gpu/nccl.sh</c> starts them. Alone they are skipped.</summary>
[Collection(nameof(AloneTests))]
public sealed class NcclTests
{
    private static readonly ScalarType[] Types =
        [ScalarType.Float32, ScalarType.Float64, ScalarType.Float16, ScalarType.BFloat16, ScalarType.Int32, ScalarType.Int64, ScalarType.Byte];

    // None, one, a prime, not divisible by ranks, and more than one of NCCL's buffers.
    private static readonly long[] Sizes = [0, 1, 7, 1001, 4099, 3_000_001];

    private static readonly ReduceOp[] Operators = [ReduceOp.Sum, ReduceOp.Product, ReduceOp.Min, ReduceOp.Max, ReduceOp.Avg];

    [Fact]
    public void Collectives_EveryKindTypeAndSize_AreTheClosedForm()
    {
        using ProcessGroup group = Join();
        Device device = Place(group);
        foreach (ScalarType type in Types)
        {
            foreach (long size in Sizes)
            {
                using DisposeScope scope = NewDisposeScope();
                CheckReductions(group, device, type, size);
                CheckMoves(group, device, type, size);
            }

            using DisposeScope other = NewDisposeScope();
            CheckUneven(group, device, type);
            CheckMessages(group, device, type);
        }

        CheckSubgroup(group, device);
        CheckManyUnderWay(group, device);
        Assert.Throws<ArgumentException>(() => group.AllReduce(zeros(1, ScalarType.Int32, device), ReduceOp.Band));
    }

    [Theory]
    [InlineData("fp32")]
    [InlineData("bf16")]
    [InlineData("fp16")]
    public void Train_TwoRanks_EqualOneRankWithBothBatches(string precision)
    {
        ProcessGroup group = Join(); // the same for all cases; it ends with the process
        Assert.SkipUnless(group.WorldSize == 2, "the batches are for two ranks");
        Device device = Place(group);
        double tolerance = precision == "fp32" ? 2e-5 : 2e-2;
        (double Loss, double Norm)[] expected = Ranks.Run(1, alone => PrecisionParityTests.Train(alone, device, precision, 0, readLater: false))[0];
        for (int stage = 0; stage <= 3; stage++)
        {
            (double Loss, double Norm)[] actual = PrecisionParityTests.Train(group, device, precision, stage, readLater: stage == 1);

            for (int i = 0; i < expected.Length; i++)
            {
                Assert.Equal(expected[i].Loss, actual[i].Loss, tolerance * expected[i].Loss);
            }

            // Adam hides a wrong average; the norm shows it.
            Assert.Equal(expected[0].Norm, actual[0].Norm, tolerance * expected[0].Norm);
        }
    }

    // The last rank dies within a collective; nobody else may hang.
    [Fact]
    public async Task AllReduce_APeerIsKilled_ThrowsOnTheOthers()
    {
        using ProcessGroup group = Join();
        Device device = Place(group);
        int last = group.WorldSize - 1;
        using Tensor tensor = ones(1 << 20, device: device);
        await group.AllReduceAsync(tensor);
        if (group.Rank == last)
        {
            using var self = Process.GetCurrentProcess();
            self.Kill();
        }

        long start = Stopwatch.GetTimestamp();
        PeerLostException lost = await Assert.ThrowsAsync<PeerLostException>(async () =>
        {
            while (Stopwatch.GetElapsedTime(start) < TimeSpan.FromMinutes(1))
            {
                await group.AllReduceAsync(tensor);
            }
        });

        Assert.Contains(last, lost.Ranks);
        cuda.synchronize(device); // the aborted collective does not keep the GPU
        using Tensor alive = ones(2, device: device);
        Assert.Equal(2, alive.sum().ToDouble());
        Assert.Throws<PeerLostException>(() => group.AllReduce(tensor));
    }

    private static ProcessGroup Join()
    {
        Assert.SkipUnless(cuda.is_available() && int.TryParse(Environment.GetEnvironmentVariable("WORLD_SIZE"), out int ranks) && ranks > 1,
            "not one of several ranks with a GPU (benchmarks/gpu/nccl.sh starts them)");
        ProcessGroup group = DeepSpeed.InitDistributed(distBackend: "nccl", timeout: TimeSpan.FromMinutes(1), verbose: true);
        Assert.Equal("nccl", group.Backend);
        return group;
    }

    private static Device Place(ProcessGroup group) => DeepSpeed.LocalDevice(group.Environment);

    // Small whole numbers, exact in every type.
    private static Tensor Values(long size, int rank, ScalarType type) => (arange(size, int64, CPU).remainder(5) + rank).to(type);

    // Their products over a few ranks are exact too.
    private static Tensor Factors(long size, int rank, ScalarType type) => ((arange(size, int64, CPU) + rank).remainder(2) + 1).to(type);

    private static void CheckReductions(ProcessGroup group, Device device, ScalarType type, long size)
    {
        int ranks = group.WorldSize;
        foreach (ReduceOp op in Operators.Where(op => op != ReduceOp.Avg || type is ScalarType.Float32 or ScalarType.Float64 or ScalarType.Float16 or ScalarType.BFloat16))
        {
            Tensor[] inputs = [.. Enumerable.Range(0, ranks).Select(r => op == ReduceOp.Product ? Factors(size * ranks, r, type) : Values(size * ranks, r, type))];
            Tensor expected = inputs.Aggregate((a, b) => op switch
            {
                ReduceOp.Product => a * b,
                ReduceOp.Min => minimum(a, b),
                ReduceOp.Max => maximum(a, b),
                _ => a + b,
            });
            expected = op == ReduceOp.Avg ? expected / ranks : expected;
            string what = $"{op} {type} {size}";

            Tensor all = inputs[group.Rank].to(device);
            group.AllReduce(all, op, what);
            AssertSame(expected, all, what);

            Tensor one = inputs[group.Rank].to(device);
            group.Reduce(one, ranks - 1, op, what);
            if (group.Rank == ranks - 1)
            {
                AssertSame(expected, one, what);
            }

            Tensor part = zeros(size, type, device);
            group.ReduceScatter(part, inputs[group.Rank].to(device), op, what);
            AssertSame(expected.narrow(0, size * group.Rank, size), part, what);
        }
    }

    private static void CheckMoves(ProcessGroup group, Device device, ScalarType type, long size)
    {
        (int rank, int ranks) = (group.Rank, group.WorldSize);
        Tensor[] parts = [.. Enumerable.Range(0, ranks).Select(r => Values(size, r, type))];
        Tensor together = cat(parts);
        string what = $"{type} {size}";

        Tensor copied = parts[rank].to(device);
        group.Broadcast(copied, ranks - 1, what);
        AssertSame(parts[ranks - 1], copied, "broadcast " + what);

        Tensor gathered = zeros(size * ranks, type, device);
        group.AllGather(gathered, parts[rank].to(device), what);
        AssertSame(together, gathered, "all-gather " + what);

        Tensor scattered = zeros(size, type, device);
        group.Scatter(scattered, rank == 1 ? [.. parts.Select(part => part.to(device))] : null, 1, what);
        AssertSame(parts[rank], scattered, "scatter " + what);

        Tensor[] collected = [.. parts.Select(_ => zeros(size, type, device))];
        group.Gather(parts[rank].to(device), rank == 1 ? collected : null, 1, what);
        if (rank == 1)
        {
            AssertSame(together, cat(collected), "gather " + what);
        }

        Tensor exchanged = zeros(size * ranks, type, device);
        group.AllToAll(exchanged, together.to(device), name: what);
        AssertSame(cat([.. Enumerable.Repeat(parts[rank], ranks)]), exchanged, "all-to-all " + what);
    }

    private static void CheckUneven(ProcessGroup group, Device device, ScalarType type)
    {
        (int rank, int ranks) = (group.Rank, group.WorldSize);
        // Rank r has 3r elements; the first has none.
        ElementRange[] ranges = [.. Enumerable.Range(0, ranks).Select(r => new ElementRange(3L * r * (r - 1) / 2, 3L * r))];
        long total = ranges[^1].End;
        Tensor expected = cat([.. Enumerable.Range(0, ranks).Select(r => Values(3L * r, r, type))]);

        Tensor gathered = zeros(total, type, device);
        gathered.narrow(0, ranges[rank].Start, ranges[rank].Length).copy_(Values(3L * rank, rank, type));
        group.AllGather(gathered, ranges, "uneven");
        AssertSame(expected, gathered, $"uneven all-gather {type}");

        Tensor summed = Values(total, rank, type).to(device);
        group.ReduceScatterAsync(summed, ranges, "uneven").Wait();
        Tensor sum = Enumerable.Range(0, ranks).Select(r => Values(total, r, type)).Aggregate((a, b) => a + b);
        AssertSame(sum.narrow(0, ranges[rank].Start, ranges[rank].Length), summed.narrow(0, ranges[rank].Start, ranges[rank].Length), $"uneven reduce-scatter {type}");

        // This rank sends i + 1 elements to rank i, and gets rank + 1 of each.
        Tensor given = Values(ranks * (ranks + 1L) / 2, rank, type).to(device);
        Tensor taken = zeros(ranks * (rank + 1L), type, device);
        group.AllToAll(taken, given, [.. Enumerable.Repeat(rank + 1L, ranks)], [.. Enumerable.Range(1, ranks).Select(n => (long)n)], "uneven");
        AssertSame(cat([.. Enumerable.Range(0, ranks).Select(r => Values(ranks * (ranks + 1L) / 2, r, type).narrow(0, rank * (rank + 1L) / 2, rank + 1))]),
            taken, $"uneven all-to-all {type}");

        Tensor[] several = [Values(5, rank, type).to(device), Values(1001, rank + 1, type).to(device)];
        group.AllReduceCoalesced(several).Wait();
        AssertSame(Enumerable.Range(0, ranks).Select(r => Values(1001, r + 1, type)).Aggregate((a, b) => a + b), several[1], $"coalesced {type}");
    }

    private static void CheckMessages(ProcessGroup group, Device device, ScalarType type)
    {
        (int rank, int ranks) = (group.Rank, group.WorldSize);
        Tensor mine = Values(100_003, rank, type).to(device);
        Tensor other = zeros(100_003, type, device);
        int next = (rank + 1) % ranks, before = (rank + ranks - 1) % ranks;
        if (rank % 2 == 0)
        {
            group.Send(mine, next);
            group.Receive(other, before);
        }
        else
        {
            group.Receive(other, before);
            group.Send(mine, next);
        }

        AssertSame(Values(100_003, before, type), other, $"message {type}");
    }

    private static void CheckSubgroup(ProcessGroup group, Device device)
    {
        using DisposeScope scope = NewDisposeScope();
        int[] members = [group.WorldSize - 1, 0];
        using ProcessGroup? pair = group.NewGroup(members);
        if (pair is not null)
        {
            Tensor tensor = full(1001, pair.Rank + 1f, device: device);
            pair.AllReduce(tensor);
            AssertSame(full(1001, 3f), tensor, "sub-group");
            Tensor first = full(3, (float)pair.Rank, device: device);
            pair.Broadcast(first, 0);
            AssertSame(zeros(3), first, "order of a sub-group");
        }

        group.Barrier("after the sub-group");
    }

    // Handles are dropped, tensors disposed behind the current stream's wait, and the results still right.
    private static void CheckManyUnderWay(ProcessGroup group, Device device)
    {
        using Tensor sum = zeros(4096, device: device);
        for (int i = 0; i < 500; i++)
        {
            using Tensor tensor = ones(4096, device: device);
            Work work = group.AllReduceAsync(tensor);
            work.Wait();
            sum.add_(tensor);
        }

        AssertSame(full(4096, 500f * group.WorldSize), sum, "many under way");
    }

    private static void AssertSame(Tensor expected, Tensor actual, string what)
    {
        using Tensor host = actual.cpu();
        using Tensor differs = expected.ne(host).any();
        Assert.True(expected.dtype == host.dtype && !differs.ToBoolean(), $"{what}: expected {Start(expected)}, found {Start(host)}");

        static string Start(Tensor tensor) => string.Join(' ', tensor.to(float64).data<double>().Take(8)) + (tensor.numel() > 8 ? " ..." : "");
    }
}

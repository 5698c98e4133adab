using System.Globalization;
using DeepSpeedSharp.Engine.Comm;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine.Tests.Comm;

/// <summary>Many collectives of random kinds, types and sizes one after the other, synchronous and not: no result is wrong and
/// nothing is left behind. DEEPSPEED_TEST_OPERATIONS sets how many.</summary>
[Collection(nameof(AloneTests))]
public sealed class RandomOperationsTests
{
    private static readonly int Operations = int.Parse(Environment.GetEnvironmentVariable("DEEPSPEED_TEST_OPERATIONS") ?? "3000", CultureInfo.InvariantCulture);

    [Theory]
    [InlineData("shm:2")]
    [InlineData("shm:3")]
    [InlineData("tcp:2")]
    [InlineData("net:2+1")]
    public void ManyOperations_OfRandomKindsAndSizes_AreRightAndLeaveNothing(string layout)
    {
        Layout.Run(layout, group => Mix(group, 200, 1)); // what is made once is made now
        AloneTests.Collect();
        int descriptors = Descriptors();
        long memory = Environment.WorkingSet;

        Layout.Run(layout, group => Mix(group, Operations, 7));

        Assert.DoesNotContain(File.ReadLines("/proc/self/maps"), line => line.Contains("memfd:deepspeedsharp", StringComparison.Ordinal));
        Assert.DoesNotContain(Directory.EnumerateFiles("/dev/shm"), file => file.Contains("deepspeedsharp", StringComparison.Ordinal));
        // The runtime may have opened a few meanwhile; a leak would be one per operation, or per group.
        Assert.InRange(Descriptors() - descriptors, int.MinValue, 40);
        Assert.InRange(Environment.WorkingSet - memory, long.MinValue, 400L << 20);
    }

    private static int Descriptors() => Directory.GetFiles("/proc/self/fd").Length;

    private static int Mix(ProcessGroup group, int operations, int seed)
    {
        // The same numbers on every rank; the values depend on the rank.
        var random = new Random(seed);
        var running = new List<(Work Work, Action Check)>();
        for (int i = 0; i < operations; i++)
        {
            running.Add(Start(group, random, i));
            if (random.Next(3) > 0 || running.Count > 8)
            {
                Finish();
            }
        }

        Finish();
        return operations;

        void Finish()
        {
            foreach ((Work work, Action check) in running)
            {
                work.Wait();
                check();
            }

            running.Clear();
        }
    }

    private static (Work Work, Action Check) Start(ProcessGroup group, Random random, int salt)
    {
        (int rank, int world) = (group.Rank, group.WorldSize);
        ScalarType type = ClosedForm.Types[random.Next(ClosedForm.Types.Length)];
        ReduceOp[] ops = [.. ClosedForm.OpsOf(type)];
        ReduceOp op = ops[random.Next(ops.Length)];
        // Mostly small, now and then beyond every threshold.
        int size = (int)Math.Pow(2, random.NextDouble() * (random.Next(50) == 0 ? 17 : 9)) - 1;
        int root = random.Next(world);
        int kind = random.Next(7);
        string what = $"operation {salt}, kind {kind}: {op} of {size} {type}, root {root} of {world}";
        switch (kind)
        {
            case 0:
                Tensor all = ClosedForm.Make(type, op, rank, 0, size, salt);
                return (group.AllReduceAsync(all, op), () => Checked(() => ClosedForm.CheckCombined(all, op, world, 0, what, salt), all));
            case 1:
                Tensor one = ClosedForm.Make(type, op, rank, 0, size, salt);
                return (group.ReduceAsync(one, root, op), () => Checked(() =>
                {
                    if (rank == root)
                    {
                        ClosedForm.CheckCombined(one, op, world, 0, what, salt);
                    }
                }, one));
            case 2:
                Tensor input = ClosedForm.Make(type, op, rank, 0, (long)size * world, salt), part = zeros(size, type);
                return (group.ReduceScatterAsync(part, input, op), () => Checked(() => ClosedForm.CheckCombined(part, op, world, (long)size * rank, what, salt), input, part));
            case 3:
                Tensor own = ClosedForm.Make(type, ReduceOp.Sum, rank, 0, size, salt), gathered = zeros((long)size * world, type);
                return (group.AllGatherAsync(gathered, own), () => Checked(() =>
                    ClosedForm.Check(gathered, i => ClosedForm.Value(ReduceOp.Sum, (int)(i / size), i % size, salt), what), own, gathered));
            case 4:
                Tensor spread = rank == root ? ClosedForm.Make(type, ReduceOp.Sum, root, 0, size, salt) : zeros(size, type);
                return (group.BroadcastAsync(spread, root), () => Checked(() => ClosedForm.CheckValues(spread, root, 0, what, salt), spread));
            case 5:
                Tensor given = ClosedForm.Make(type, ReduceOp.Sum, rank, 0, (long)size * world, salt), got = zeros((long)size * world, type);
                return (group.AllToAllAsync(got, given), () => Checked(() =>
                    ClosedForm.Check(got, i => ClosedForm.Value(ReduceOp.Sum, (int)(i / size), rank * (long)size + i % size, salt), what), given, got));
            default:
                int to = (rank + 1 + root) % world, from = (rank - 1 - root + 2 * world) % world;
                if (to == rank)
                {
                    return (group.BarrierAsync(), () => { });
                }

                Tensor sent = ClosedForm.Make(type, ReduceOp.Sum, rank, 0, size, salt), received = zeros(size, type);
                Work sending = group.SendAsync(sent, to, root);
                return (group.ReceiveAsync(received, from, root), () => Checked(() =>
                {
                    sending.Wait();
                    ClosedForm.CheckValues(received, from, 0, what, salt);
                }, sent, received));
        }
    }

    private static void Checked(Action check, params Tensor[] tensors)
    {
        check();
        Array.ForEach(tensors, tensor => tensor.Dispose());
    }
}

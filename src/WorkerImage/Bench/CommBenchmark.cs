using System.Diagnostics;
using System.Globalization;
using DeepSpeedSharp.Engine.Comm;
using TorchSharp;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Worker.Bench;

/// <summary>Measures collectives over sizes, and checks what they give.</summary>
/// <param name="group">The ranks.</param>
/// <param name="options">What to measure.</param>
/// <param name="device">Where the tensors are.</param>
/// <param name="print">Takes the lines; called on rank 0.</param>
internal sealed class CommBenchmark(ProcessGroup group, BenchOptions options, Device device, Action<string> print)
{
    // Small whole numbers: their sums over ranks are exact in every type.
    private const int Pattern = 7, RankPattern = 4;

    /// <summary>The operations that can be measured.</summary>
    public static IReadOnlyList<string> Operations { get; } =
        ["all_reduce", "all_gather", "reduce_scatter", "broadcast", "reduce", "all_to_all", "send_recv"];

    private int Ranks => group.WorldSize;

    /// <summary>Measures everything.</summary>
    /// <returns>Number of wrong elements.</returns>
    public long Run()
    {
        long wrong = 0;
        foreach (string operation in options.Operations)
        {
            if (group.Rank == 0 && !options.Json)
            {
                foreach (string line in BenchRow.Header(operation, options.Backend, Ranks, group.Description))
                {
                    print(line);
                }
            }

            for (long bytes = options.MinBytes; bytes <= options.MaxBytes; bytes *= options.Factor)
            {
                BenchRow row = Measure(operation, bytes);
                wrong += row.Wrong;
                if (group.Rank == 0)
                {
                    print(options.Json ? row.ToJson() : row.ToString());
                }
            }
        }

        return wrong;
    }

    private BenchRow Measure(string operation, long bytes)
    {
        using DisposeScope scope = NewDisposeScope();
        using IDisposable noGrad = no_grad();
        using Tensor one = empty(1, options.Type);
        // All parts have the same length.
        long part = Math.Max(1, bytes / one.element_size() / Ranks);
        long count = part * Ranks;
        Tensor input = Values(operation is "all_gather" ? part : count, group.Rank);
        Tensor output = operation is "reduce_scatter" ? zeros(part, options.Type, device)
            : operation is "all_gather" or "all_to_all" ? zeros(count, options.Type, device) : input;

        Work? last = null;
        Call();
        last?.Completion.GetAwaiter().GetResult();
        long wrong = Check(operation, output, part, count);

        int iterations = options.Iterations ?? (bytes <= 1 << 16 ? 200 : bytes <= 1 << 22 ? 50 : 10);
        Time(Math.Max(2, iterations / 10));
        double seconds = Time(iterations);
        string[][] all = [.. group.AllGather(string.Create(CultureInfo.InvariantCulture, $"{seconds:R} {wrong}"), "times").Select(text => text.Split(' '))];
        double slowest = all.Max(words => double.Parse(words[0], CultureInfo.InvariantCulture));
        long total = all.Sum(words => long.Parse(words[1], CultureInfo.InvariantCulture));
        return BenchRow.Of(operation, options.Backend, Ranks, options.Type.ToString().ToLowerInvariant(), count * one.element_size(), count,
            slowest, total);

        // A GPU gets its work in advance, as in training; on the host a call is waited for, which is faster when it says so.
        void Call()
        {
            if (device.type == DeviceType.CUDA)
            {
                last = Start();
            }
            else
            {
                Finish();
            }
        }

        Work? Start() => operation switch
        {
            "all_reduce" => group.AllReduceAsync(output, "bench"),
            "all_gather" => group.AllGatherAsync(output, input, "bench"),
            "reduce_scatter" => group.ReduceScatterAsync(output, input, name: "bench"),
            "broadcast" => group.BroadcastAsync(output, 0, "bench"),
            "reduce" => group.ReduceAsync(output, 0, name: "bench"),
            "all_to_all" => group.AllToAllAsync(output, input, name: "bench"),
            "send_recv" => group.Rank switch
            {
                0 => group.SendAsync(output, 1, name: "bench"),
                1 => group.ReceiveAsync(output, 0, name: "bench"),
                _ => null, // has no part in it
            },
            _ => throw new InvalidOperationException(operation),
        };

        void Finish()
        {
            switch (operation)
            {
                case "all_reduce":
                    group.AllReduce(output, "bench");
                    break;
                case "all_gather":
                    group.AllGather(output, input, "bench");
                    break;
                case "reduce_scatter":
                    group.ReduceScatter(output, input, name: "bench");
                    break;
                case "broadcast":
                    group.Broadcast(output, 0, "bench");
                    break;
                case "reduce":
                    group.Reduce(output, 0, name: "bench");
                    break;
                case "all_to_all":
                    group.AllToAll(output, input, name: "bench");
                    break;
                case "send_recv" when group.Rank == 0:
                    group.Send(output, 1, name: "bench");
                    break;
                case "send_recv" when group.Rank == 1:
                    group.Receive(output, 0, name: "bench");
                    break;
            }
        }

        double Time(int calls)
        {
            group.Barrier("bench");
            long start = Stopwatch.GetTimestamp();
            for (int i = 0; i < calls; i++)
            {
                Call();
            }

            last?.Completion.GetAwaiter().GetResult();
            return Stopwatch.GetElapsedTime(start).TotalSeconds / calls;
        }
    }

    private Tensor Values(long count, int rank) => (arange(count, int64, device).remainder(Pattern) + rank % RankPattern).to(options.Type);

    private long Check(string operation, Tensor output, long part, long count)
    {
        int sumOfRanks = Enumerable.Range(0, Ranks).Sum(rank => rank % RankPattern);
        Tensor expected;
        switch (operation)
        {
            case "all_reduce":
            case "reduce" when group.Rank == 0:
                expected = (Values(count, 0) * Ranks) + sumOfRanks;
                break;
            case "reduce_scatter":
                expected = (Values(count, 0).narrow(0, part * group.Rank, part) * Ranks) + sumOfRanks;
                break;
            case "all_gather":
                expected = cat([.. Enumerable.Range(0, Ranks).Select(rank => Values(part, rank))]);
                break;
            case "all_to_all":
                expected = cat([.. Enumerable.Range(0, Ranks).Select(rank => Values(count, rank).narrow(0, part * group.Rank, part))]);
                break;
            case "broadcast":
            case "send_recv" when group.Rank < 2:
                expected = Values(count, 0);
                break;
            default:
                return 0; // this rank gets nothing
        }

        return output.ne(expected).sum().item<long>();
    }
}

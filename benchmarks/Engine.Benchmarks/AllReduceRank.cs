using System.Diagnostics;
using System.Globalization;
using DeepSpeedSharp.Engine.Comm;
using DeepSpeedSharp.Engine.Comm.Transport;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine.Benchmarks;

/// <summary>One of the ranks of an all-reduce between processes, for benchmarks/comm/run.sh: a JSON line per size from rank 0.</summary>
internal static class AllReduceRank
{
    public static void Run(double seconds)
    {
        using ProcessGroup group = DeepSpeed.InitDistributed(verbose: false);
        bool sharesMemory = group.Description.Contains("shared memory", StringComparison.Ordinal);
        for (int bytes = 1 << 10; bytes <= 64 << 20; bytes *= 4)
        {
            using Tensor values = ones(bytes / sizeof(float));
            Print(group, sharesMemory ? "shm" : "tcp", bytes, Times(group, bytes, seconds, () => group.AllReduce(values), () => values.fill_(1).DetachFromDisposeScope()));
            if (sharesMemory)
            {
                Print(group, "memcpy", bytes, Copies(group, bytes, seconds));
            }
        }

        group.Barrier("end");
    }

    // The least that an all-reduce through memory does: each rank gives its values and reads the other's.
    private static unsafe List<double> Copies(ProcessGroup group, int bytes, double seconds)
    {
        using Tensor values = ones(bytes / sizeof(float)), other = ones(bytes / sizeof(float));
        var mine = new Block((byte*)Native.TensorMemory.Address(values), bytes);
        var theirs = new Block((byte*)Native.TensorMemory.Address(other), bytes);
        int step = Math.Min(bytes, 256 << 10);
        byte* memory = Posix.Map(-1, step);
        var slot = new Block(memory, step);
        List<double> times = Times(group, bytes, seconds, () =>
        {
            for (int at = 0; at < bytes; at += step)
            {
                mine.Slice(at, step).CopyTo(slot);
                slot.CopyTo(theirs.Slice(at, step));
            }
        }, () => { });
        Posix.Unmap(memory, step);
        return times;
    }

    private static List<double> Times(ProcessGroup group, int bytes, double seconds, Action call, Action reset)
    {
        int calls = Math.Clamp(200_000_000 / bytes, 20, 3000);
        var times = new List<double>(calls);
        using Tensor late = zeros(1);
        long begin = Stopwatch.GetTimestamp();
        for (int i = 0; i < calls + 10; i++)
        {
            // All ranks end after the same call.
            if (i % 10 == 0)
            {
                late.fill_(Stopwatch.GetElapsedTime(begin).TotalSeconds > seconds ? 1f : 0f).DetachFromDisposeScope();
                group.AllReduce(late, ReduceOp.Max);
                if (late.item<float>() > 0 && times.Count > 0)
                {
                    break;
                }
            }

            if (bytes >= 1 << 20)
            {
                group.Barrier();
            }

            long start = Stopwatch.GetTimestamp();
            call();
            double elapsed = Stopwatch.GetElapsedTime(start).TotalMicroseconds;
            reset();
            if (i >= 10)
            {
                times.Add(elapsed);
            }
        }

        times.Sort();
        return times;
    }

    private static void Print(ProcessGroup group, string who, int bytes, List<double> times)
    {
        if (group.Rank == 0)
        {
            Console.WriteLine(string.Create(CultureInfo.InvariantCulture,
                $"{{\"who\": \"{who}\", \"bytes\": {bytes}, \"median_us\": {times[times.Count / 2]}, \"min_us\": {times[0]}}}"));
        }
    }
}

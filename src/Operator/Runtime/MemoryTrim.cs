using System.Runtime;

namespace DeepSpeedSharp.Operator.Runtime;

/// <summary>Gives memory back that lists, watches and passes leave behind.</summary>
/// <remarks>
/// An operator waits most of the time, and the runtime collects fully only when a program allocates for long: what ten
/// thousand pods were read from would stay for hours. A collection of some ten megabytes takes a few hundredths of a second.
/// </remarks>
/// <param name="time">Clock.</param>
internal sealed class MemoryTrim(TimeProvider time)
{
    private const long Garbage = 8 << 20;

    // Of the time at most: a heap of gigabytes is not collected every few seconds.
    private const int Share = 50;
    private static readonly TimeSpan Shortest = TimeSpan.FromSeconds(3);

    private long _allocated;

    /// <summary>Runs until cancelled.</summary>
    public async Task RunAsync(CancellationToken stop)
    {
        await PauseAsync(Shortest);
        while (!stop.IsCancellationRequested)
        {
            long begin = time.GetTimestamp();
            Once();
            await PauseAsync(Next(time.GetElapsedTime(begin)));
        }

        async Task PauseAsync(TimeSpan pause) => await Task.Delay(pause, time, stop).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
    }

    /// <summary>Collects, if enough was allocated since the last time.</summary>
    /// <returns>Whether it did.</returns>
    internal bool Once()
    {
        long allocated = GC.GetTotalAllocatedBytes();
        if (allocated - _allocated < Garbage)
        {
            return false;
        }

        _allocated = allocated;
        GCSettings.LargeObjectHeapCompactionMode = GCLargeObjectHeapCompactionMode.CompactOnce;
        GC.Collect(GC.MaxGeneration, GCCollectionMode.Aggressive, blocking: true, compacting: true);
        return true;
    }

    /// <summary>Time until the next one may begin.</summary>
    /// <param name="taken">Time that the last one took.</param>
    internal static TimeSpan Next(TimeSpan taken) => taken * Share > Shortest ? taken * Share : Shortest;
}

using DeepSpeedSharp.Config;
using DeepSpeedSharp.Engine.Comm;

namespace DeepSpeedSharp.Engine.Tests;

/// <summary>Runs many ranks as threads of the test, over transports in memory.</summary>
internal static class Ranks
{
    private static readonly TimeSpan Timeout = TimeSpan.FromMinutes(3);

    public static T[] Run<T>(int worldSize, Func<ProcessGroup, T> rank)
    {
        IReadOnlyList<ITransport> ring = worldSize == 1 ? [] : InProcessTransport.CreateRing(worldSize);
        Task<T>[] tasks = [.. Enumerable.Range(0, worldSize).Select(r => Task.Factory.StartNew(() =>
        {
            using var group = new ProcessGroup(new WorkerEnvironment { Rank = r, LocalRank = r, WorldSize = worldSize },
                worldSize == 1 ? null : ring[r]);
            return rank(group);
        }, CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default))];
        return Task.WhenAll(tasks).WaitAsync(Timeout).GetAwaiter().GetResult();
    }

    public static void Run(int worldSize, Action<ProcessGroup> rank) => Run(worldSize, group =>
    {
        rank(group);
        return 0;
    });
}

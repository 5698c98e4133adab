using DeepSpeedSharp.Config;
using DeepSpeedSharp.Engine.Comm;
using DeepSpeedSharp.Engine.Comm.Transport;

namespace DeepSpeedSharp.Engine.Tests;

/// <summary>Runs many ranks as threads of the test, over memory of the process.</summary>
internal static class Ranks
{
    private static readonly TimeSpan Timeout = TimeSpan.FromMinutes(3);

    public static T[] Run<T>(int worldSize, Func<ProcessGroup, T> rank) =>
        Run(worldSize == 1 ? [HostLinks.Alone()] : HostLinks.InProcess([worldSize], Timeout), rank);

    /// <summary>Runs ranks over links that were made for them, and disposes these.</summary>
    public static T[] Run<T>(IReadOnlyList<HostLinks> links, Func<ProcessGroup, T> rank, bool debug = false)
    {
        Task<T>[] tasks = [.. links.Select((link, r) => Task.Factory.StartNew(() =>
        {
            using var group = new ProcessGroup(new WorkerEnvironment { Rank = r, LocalRank = r, WorldSize = links.Count },
                new HostCollectives(link, debug: debug));
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

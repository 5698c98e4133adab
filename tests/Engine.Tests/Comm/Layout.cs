using DeepSpeedSharp.Config;
using DeepSpeedSharp.Engine.Comm;
using DeepSpeedSharp.Engine.Comm.Transport;

namespace DeepSpeedSharp.Engine.Tests.Comm;

/// <summary>Ways to connect ranks, all of them as threads of the test: <c>board:4</c> shares memory, <c>links:4</c> has links in
/// memory only, <c>hosts:2+2</c> boards on hosts that are linked; <c>shm:4</c>, <c>tcp:4</c> and <c>net:2+2</c> are the same
/// through the store, with memory and connections as between processes.</summary>
internal static class Layout
{
    private static readonly TimeSpan Timeout = TimeSpan.FromMinutes(3);

    public static T[] Run<T>(string layout, Func<ProcessGroup, T> rank, bool debug = false)
    {
        int[] hosts = [.. layout[(layout.IndexOf(':', StringComparison.Ordinal) + 1)..].Split('+').Select(int.Parse)];
        return layout[..layout.IndexOf(':', StringComparison.Ordinal)] switch
        {
            "board" => Ranks.Run(hosts is [1] ? [HostLinks.Alone()] : HostLinks.InProcess(hosts, Timeout), rank, debug),
            "links" => Ranks.Run(HostLinks.InProcess([.. Enumerable.Repeat(1, hosts[0])], Timeout), rank, debug),
            "hosts" => Ranks.Run(HostLinks.InProcess(hosts, Timeout), rank, debug),
            "shm" or "net" => Joined(hosts, true, rank, debug),
            "tcp" => Joined(hosts, false, rank, debug),
            _ => throw new ArgumentException(layout),
        };
    }

    private static T[] Joined<T>(int[] hosts, bool sharesMemory, Func<ProcessGroup, T> rank, bool debug)
    {
        int port = TestPorts.Free();
        int world = hosts.Sum();
        string[] names = [.. hosts.SelectMany((count, host) => Enumerable.Repeat($"host {host}", count))];
        Task<T>[] tasks = [.. Enumerable.Range(0, world).Select(r => Task.Factory.StartNew(() =>
        {
            using ProcessGroup group = Join(new WorkerEnvironment { Rank = r, LocalRank = r, WorldSize = world, MasterPort = port, RunId = "test" }, Timeout,
                new LinkOptions { Host = names[r], SharesMemory = sharesMemory, Debug = debug, Streams = 2 });
            T result = rank(group);
            group.Barrier("end");
            return result;
        }, CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default))];
        return Task.WhenAll(tasks).WaitAsync(Timeout).GetAwaiter().GetResult();
    }

    public static ProcessGroup Join(WorkerEnvironment place, TimeSpan timeout, LinkOptions options) =>
        GroupFactory.CreateWorldAsync(place, timeout, options).GetAwaiter().GetResult();
}

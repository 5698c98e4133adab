using System.Net;
using System.Net.Sockets;
using DeepSpeedSharp.Config;
using DeepSpeedSharp.Engine.Comm.Store;

namespace DeepSpeedSharp.Engine.Tests.Comm;

/// <summary>Stores of several ranks in the test's process, and ranks that misbehave.</summary>
internal static class Stores
{
    public static readonly TimeSpan Long = TimeSpan.FromSeconds(90);

    /// <summary>Heartbeats that are quick, but that a loaded machine can keep.</summary>
    public static readonly StoreOptions Quick = new() { HeartbeatInterval = TimeSpan.FromSeconds(0.25), HeartbeatTimeout = TimeSpan.FromSeconds(10) };

    public static WorkerEnvironment Place(int rank, int worldSize, int port, string address = "127.0.0.1") => new()
    {
        Rank = rank,
        LocalRank = rank,
        WorldSize = worldSize,
        MasterAddress = address,
        MasterPort = port,
        RunId = "job/2",
    };

    public static Task<TcpStore> JoinAsync(WorkerEnvironment place, StoreOptions? options = null, TimeSpan? timeout = null) =>
        Task.Run(() => TcpStore.ConnectAsync(place, timeout ?? Long, options ?? Quick));

    public static async Task<TcpStore[]> OpenAsync(int worldSize, StoreOptions? options = null, string address = "127.0.0.1", TimeSpan? timeout = null)
    {
        int port = TestPorts.Free();
        return await Task.WhenAll(Enumerable.Range(0, worldSize).Select(rank => JoinAsync(Place(rank, worldSize, port, address), options, timeout)));
    }

    /// <summary>A rank that has joined and does nothing more: neither heartbeats nor reading.</summary>
    public static async Task<Socket> GhostAsync(WorkerEnvironment place, StoreOptions? options = null)
    {
        while (true)
        {
            try
            {
                (Socket socket, _) = await StoreGreeting.JoinAsync(
                    new DnsEndPoint(place.MasterAddress, place.MasterPort), place, options ?? Quick, CancellationToken.None);
                return socket;
            }
            catch (IOException)
            {
                await Task.Delay(20);
            }
        }
    }

    /// <summary>Leaves in order, rank 0 last.</summary>
    public static void Close(IEnumerable<TcpStore> stores)
    {
        foreach (TcpStore store in stores.Reverse())
        {
            store.Dispose();
        }
    }
}

using System.Net;
using System.Net.Sockets;
using DeepSpeedSharp.Config;
using DeepSpeedSharp.Engine.Comm.Store;

namespace DeepSpeedSharp.Engine.Comm;

/// <summary>Where a rank listens for its left neighbour.</summary>
/// <param name="Host">Address or host name.</param>
/// <param name="Port">TCP port.</param>
internal sealed record RankAddress(string Host, int Port)
{
    public override string ToString() => $"{Host}:{Port}";
}

/// <summary>How the ranks of a run link up to a ring: they tell each other their ports through the store.</summary>
internal static class Rendezvous
{
    /// <summary>Joins the run and links up the ring.</summary>
    /// <param name="environment">This rank's place; world size at least 2.</param>
    /// <param name="timeout">How long to wait for the others, and later for each collective.</param>
    /// <exception cref="PeerLostException">Some rank did not come, or rank 0 turned this one away.</exception>
    public static async Task<ITransport> JoinAsync(WorkerEnvironment environment, TimeSpan timeout)
    {
        TcpStore store = await TcpStore.ConnectAsync(environment, timeout).ConfigureAwait(false);
        try
        {
            return await LinkAsync(environment, store, timeout).ConfigureAwait(false);
        }
        catch
        {
            store.Dispose();
            throw;
        }
    }

    private static async Task<ITransport> LinkAsync(WorkerEnvironment environment, TcpStore store, TimeSpan timeout)
    {
        int rank = environment.Rank!.Value;
        using var deadline = new CancellationTokenSource(timeout);
        IPAddress bind = await MasterEndpoint.AddressToListenOnAsync(environment, deadline.Token).ConfigureAwait(false);
        using Socket listener = ListenForNeighbour(bind, environment.MasterPort);
        int port = ((IPEndPoint)listener.LocalEndPoint!).Port;
        store.Set($"ring/{rank}", BitConverter.GetBytes(port));
        RankAddress[] addresses = [.. Enumerable.Range(0, environment.WorldSize).Select(peer =>
            new RankAddress(store.Hosts[peer], BitConverter.ToInt32(store.Get($"ring/{peer}", timeout))))];

        int next = (rank + 1) % environment.WorldSize;
        int previous = (rank + environment.WorldSize - 1) % environment.WorldSize;
        Task<Socket> accepting = AcceptNeighbourAsync(listener, environment, previous, deadline.Token);
        Socket? right = null;
        try
        {
            right = await MasterEndpoint.ConnectAsync(new DnsEndPoint(addresses[next].Host, addresses[next].Port), deadline.Token).ConfigureAwait(false);
            await RendezvousMessages.SendAsync(right, RendezvousMessages.Hello.From(environment, port), deadline.Token)
                .ConfigureAwait(false);
            Socket left = await accepting.ConfigureAwait(false);
            return new TcpTransport(rank, addresses, left, right, store, timeout);
        }
        catch (Exception e) when (e is SocketException or IOException)
        {
            right?.Dispose();
            throw new PeerLostException(next, $"rendezvous, rank {rank}: rank {next} at {addresses[next]} ended while the "
                + $"ranks were being linked: {e.Message}; look at its log", e);
        }
        catch (OperationCanceledException e)
        {
            right?.Dispose();
            throw new PeerLostException(previous, $"rendezvous, rank {rank}: its neighbours rank {previous} at "
                + $"{addresses[previous]} and rank {next} at {addresses[next]} were not linked within "
                + $"{timeout.TotalSeconds:0} s; check that pods can reach each other on any port", e);
        }
    }

    private static async Task<Socket> AcceptNeighbourAsync(
        Socket listener, WorkerEnvironment environment, int expected, CancellationToken cancel)
    {
        while (true)
        {
            Socket socket = await listener.AcceptAsync(cancel).ConfigureAwait(false);
            if (await RendezvousMessages.ReadHelloAsync(socket, cancel).ConfigureAwait(false) is { } hello
                && hello.Rank == expected && hello.RunId == environment.RunId)
            {
                socket.NoDelay = true;
                return socket;
            }

            socket.Dispose();
        }
    }

    // On any port but MASTER_PORT, which is often one that was free a moment ago: the kernel may offer it again.
    private static Socket ListenForNeighbour(IPAddress address, int masterPort)
    {
        Socket socket = MasterEndpoint.Listen(address, 0);
        if (((IPEndPoint)socket.LocalEndPoint!).Port != masterPort)
        {
            return socket;
        }

        using (socket)
        {
            return MasterEndpoint.Listen(address, 0);
        }
    }
}

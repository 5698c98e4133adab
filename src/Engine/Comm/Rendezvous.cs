using System.Net;
using System.Net.Sockets;
using DeepSpeedSharp.Config;

namespace DeepSpeedSharp.Engine.Comm;

/// <summary>Where a rank listens for its left neighbour.</summary>
/// <param name="Host">Address or host name.</param>
/// <param name="Port">TCP port.</param>
internal sealed record RankAddress(string Host, int Port)
{
    public override string ToString() => $"{Host}:{Port}";
}

/// <summary>How the ranks of a run find each other: all come to rank 0, which tells everyone where everyone is.</summary>
/// <remarks>Late and early ranks are waited for; ranks of another job or attempt are turned away.</remarks>
internal static class Rendezvous
{
    private static readonly TimeSpan RetryPause = TimeSpan.FromMilliseconds(200);

    /// <summary>Joins the run and links up the ring.</summary>
    /// <param name="environment">This rank's place; world size at least 2.</param>
    /// <param name="timeout">How long to wait for the others, and later for each collective.</param>
    /// <exception cref="PeerLostException">Some rank did not come, or rank 0 turned this one away.</exception>
    public static async Task<ITransport> JoinAsync(WorkerEnvironment environment, TimeSpan timeout)
    {
        int rank = environment.Rank!.Value;
        using var deadline = new CancellationTokenSource(timeout);
        IPAddress bind = await AddressToListenOnAsync(environment, deadline.Token).ConfigureAwait(false);
        using Socket listener = ListenForNeighbour(bind, environment.MasterPort);
        int port = ((IPEndPoint)listener.LocalEndPoint!).Port;

        IReadOnlyList<RankAddress> addresses = rank == 0
            ? await HostAsync(environment, bind, port, timeout, deadline.Token).ConfigureAwait(false)
            : await RegisterAsync(environment, port, timeout, deadline.Token).ConfigureAwait(false);

        int next = (rank + 1) % environment.WorldSize;
        int previous = (rank + environment.WorldSize - 1) % environment.WorldSize;
        Task<Socket> accepting = AcceptNeighbourAsync(listener, environment, previous, deadline.Token);
        Socket? right = null;
        try
        {
            right = await ConnectAsync(addresses[next].Host, addresses[next].Port, deadline.Token).ConfigureAwait(false);
            await RendezvousMessages.SendAsync(right, RendezvousMessages.Hello.From(environment, port), deadline.Token)
                .ConfigureAwait(false);
            Socket left = await accepting.ConfigureAwait(false);
            return new TcpTransport(rank, addresses, left, right, timeout);
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

    // Rank 0: collect everyone, then answer everyone.
    private static async Task<IReadOnlyList<RankAddress>> HostAsync(
        WorkerEnvironment environment, IPAddress bind, int port, TimeSpan timeout, CancellationToken cancel)
    {
        var addresses = new RankAddress?[environment.WorldSize];
        var members = new Dictionary<int, Socket>();
        addresses[0] = new RankAddress(environment.MasterAddress, port);
        try
        {
            using Socket server = await ListenAsMasterAsync(bind, environment, timeout, cancel).ConfigureAwait(false);
            while (addresses.Contains(null))
            {
                Socket member = await server.AcceptAsync(cancel).ConfigureAwait(false);
                if (await RendezvousMessages.ReadHelloAsync(member, cancel).ConfigureAwait(false) is not { } hello)
                {
                    member.Dispose(); // not one of us: a port scan or a health check
                    continue;
                }

                if (Refusal(hello, environment) is { } refusal)
                {
                    await RendezvousMessages.SendAsync(member, new RendezvousMessages.Answer(refusal, null), cancel)
                        .ConfigureAwait(false);
                    member.Dispose();
                    continue;
                }

                // A rank that comes again was restarted before the world was complete: the newer one counts.
                if (members.Remove(hello.Rank, out Socket? earlier))
                {
                    earlier.Dispose();
                }

                members[hello.Rank] = member;
                IPAddress from = ((IPEndPoint)member.RemoteEndPoint!).Address;
                addresses[hello.Rank] = new RankAddress((from.IsIPv4MappedToIPv6 ? from.MapToIPv4() : from).ToString(), hello.Port);
            }

            var answer = new RendezvousMessages.Answer(null, addresses!);
            foreach (Socket member in members.Values)
            {
                await RendezvousMessages.SendAsync(member, answer, cancel).ConfigureAwait(false);
            }

            return addresses!;
        }
        catch (OperationCanceledException e)
        {
            int[] missing = [.. Enumerable.Range(0, addresses.Length).Where(r => addresses[r] is null)];
            throw new PeerLostException(missing.Length == 1 ? missing[0] : -1, $"rendezvous at {environment.MasterAddress}:"
                + $"{environment.MasterPort}: {(missing.Length == 1 ? "rank" : "ranks")} {string.Join(", ", missing)} of "
                + $"{environment.WorldSize} did not come within {timeout.TotalSeconds:0} s; look at their logs, or raise "
                + "DEEPSPEED_TIMEOUT (minutes)", e);
        }
        catch (SocketException e)
        {
            throw new PeerLostException(-1, $"rendezvous at {environment.MasterAddress}:{environment.MasterPort}: "
                + $"rank 0 cannot go on: {e.Message}", e);
        }
        finally
        {
            foreach (Socket member in members.Values)
            {
                member.Dispose();
            }
        }
    }

    private static string? Refusal(RendezvousMessages.Hello hello, WorkerEnvironment environment) => hello switch
    {
        _ when hello.RunId != environment.RunId =>
            $"this is run \"{environment.RunId}\", rank {hello.Rank} belongs to \"{hello.RunId}\"",
        _ when hello.WorldSize != environment.WorldSize =>
            $"rank {hello.Rank} expects {hello.WorldSize} ranks, rank 0 expects {environment.WorldSize}",
        _ when hello.Rank <= 0 || hello.Rank >= environment.WorldSize =>
            $"there is no place for rank {hello.Rank} among {environment.WorldSize}",
        _ => null,
    };

    // Other ranks: come to rank 0, again and again until it is there.
    private static async Task<IReadOnlyList<RankAddress>> RegisterAsync(
        WorkerEnvironment environment, int port, TimeSpan timeout, CancellationToken cancel)
    {
        string last = "no attempt was made";
        try
        {
            while (true)
            {
                try
                {
                    using Socket server = await ConnectAsync(environment.MasterAddress, environment.MasterPort, cancel,
                        failure => last = failure).ConfigureAwait(false);
                    await RendezvousMessages.SendAsync(server, RendezvousMessages.Hello.From(environment, port), cancel)
                        .ConfigureAwait(false);
                    RendezvousMessages.Answer answer =
                        await RendezvousMessages.ReadAnswerAsync(server, cancel).ConfigureAwait(false);
                    if (answer.Refusal is { } refusal)
                    {
                        throw new PeerLostException(0, $"rendezvous, rank {environment.Rank}: rank 0 at "
                            + $"{environment.MasterAddress}:{environment.MasterPort} refused: {refusal}; another job may "
                            + "hold this port, choose another MASTER_PORT");
                    }

                    return answer.Addresses!;
                }
                catch (Exception e) when (e is SocketException or IOException)
                {
                    last = e.Message; // rank 0 went away before the world was complete; it may come back
                    await Task.Delay(RetryPause, cancel).ConfigureAwait(false);
                }
            }
        }
        catch (OperationCanceledException e)
        {
            throw new PeerLostException(0, $"rendezvous, rank {environment.Rank}: rank 0 at {environment.MasterAddress}:"
                + $"{environment.MasterPort} did not answer within {timeout.TotalSeconds:0} s ({last}); look at the log of "
                + "rank 0, or raise DEEPSPEED_TIMEOUT (minutes)", e);
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

    // Names are resolved anew each time: a pod's name may appear in DNS only seconds after the pod.
    private static async Task<Socket> ConnectAsync(
        string host, int port, CancellationToken cancel, Action<string>? onFailure = null)
    {
        while (true)
        {
            var socket = new Socket(SocketType.Stream, ProtocolType.Tcp) { NoDelay = true };
            try
            {
                await socket.ConnectAsync(host, port, cancel).ConfigureAwait(false);
                return socket;
            }
            catch (SocketException e)
            {
                socket.Dispose();
                onFailure?.Invoke(e.Message);
                await Task.Delay(RetryPause, cancel).ConfigureAwait(false);
            }
            catch (OperationCanceledException)
            {
                socket.Dispose();
                throw;
            }
        }
    }

    // A run on one machine listens on the loopback address only; everything else on all addresses.
    private static async Task<IPAddress> AddressToListenOnAsync(WorkerEnvironment environment, CancellationToken cancel)
    {
        try
        {
            IPAddress[] master = await Dns.GetHostAddressesAsync(environment.MasterAddress, cancel).ConfigureAwait(false);
            if (master.Length > 0 && master.All(IPAddress.IsLoopback))
            {
                return master[0];
            }
        }
        catch (SocketException)
        {
            // The name is not known yet; it is certainly not this machine's loopback.
        }

        return Socket.OSSupportsIPv6 ? IPAddress.IPv6Any : IPAddress.Any;
    }

    private static Socket Listen(IPAddress address, int port)
    {
        var socket = new Socket(address.AddressFamily, SocketType.Stream, ProtocolType.Tcp);
        try
        {
            if (address.Equals(IPAddress.IPv6Any))
            {
                socket.DualMode = true;
            }

            socket.Bind(new IPEndPoint(address, port));
            socket.Listen(1024);
            return socket;
        }
        catch (SocketException)
        {
            socket.Dispose();
            throw;
        }
    }

    // On any port but MASTER_PORT, which is often one that was free a moment ago: the kernel may offer it again.
    private static Socket ListenForNeighbour(IPAddress address, int masterPort)
    {
        Socket socket = Listen(address, 0);
        if (((IPEndPoint)socket.LocalEndPoint!).Port != masterPort)
        {
            return socket;
        }

        using (socket)
        {
            return Listen(address, 0);
        }
    }

    // The previous attempt of a job may hold the port for a moment longer.
    private static async Task<Socket> ListenAsMasterAsync(
        IPAddress address, WorkerEnvironment environment, TimeSpan timeout, CancellationToken cancel)
    {
        while (true)
        {
            try
            {
                return Listen(address, environment.MasterPort);
            }
            catch (SocketException e) when (e.SocketErrorCode == SocketError.AddressAlreadyInUse)
            {
                await Task.Delay(RetryPause, CancellationToken.None).ConfigureAwait(false);
                if (cancel.IsCancellationRequested)
                {
                    throw new PeerLostException(-1, $"rendezvous at {environment.MasterAddress}:{environment.MasterPort}: "
                        + $"another program held port {environment.MasterPort} of rank 0 for {timeout.TotalSeconds:0} s; end "
                        + "that program, or choose another MASTER_PORT", e);
                }
            }
        }
    }
}

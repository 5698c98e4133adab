using System.Net;
using System.Net.Sockets;
using DeepSpeedSharp.Config;

namespace DeepSpeedSharp.Engine.Comm.Store;

/// <summary>Sockets at MASTER_ADDR and MASTER_PORT, for IPv4, IPv6 and host names.</summary>
internal static class MasterEndpoint
{
    /// <summary>Pause between two attempts.</summary>
    public static readonly TimeSpan RetryPause = TimeSpan.FromMilliseconds(200);

    /// <summary>MASTER_ADDR without the brackets that some write around an IPv6 address.</summary>
    public static string HostOf(WorkerEnvironment place) => place.MasterAddress.Trim().TrimStart('[').TrimEnd(']');

    /// <summary>Address and port for messages.</summary>
    public static string Name(WorkerEnvironment place) =>
        HostOf(place) is var host && host.Contains(':', StringComparison.Ordinal) ? $"[{host}]:{place.MasterPort}" : $"{host}:{place.MasterPort}";

    /// <summary>The address that this rank listens on: the loopback one for a run on one machine, else all addresses.</summary>
    public static async Task<IPAddress> AddressToListenOnAsync(WorkerEnvironment place, CancellationToken cancel)
    {
        try
        {
            IPAddress[] master = await Dns.GetHostAddressesAsync(HostOf(place), cancel).ConfigureAwait(false);
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

    /// <summary>A listening socket.</summary>
    /// <exception cref="SocketException">For example: the port is taken.</exception>
    public static Socket Listen(IPAddress address, int port)
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

    /// <summary>Listens at MASTER_PORT; the previous attempt of a job may hold it for a moment longer.</summary>
    /// <exception cref="PeerLostException">Another program held it until the end.</exception>
    public static async Task<Socket> ListenAsMasterAsync(WorkerEnvironment place, TimeSpan timeout, CancellationToken cancel)
    {
        IPAddress address = await AddressToListenOnAsync(place, cancel).ConfigureAwait(false);
        while (true)
        {
            try
            {
                return Listen(address, place.MasterPort);
            }
            catch (SocketException e) when (e.SocketErrorCode == SocketError.AddressAlreadyInUse)
            {
                await Task.Delay(RetryPause, CancellationToken.None).ConfigureAwait(false);
                if (cancel.IsCancellationRequested)
                {
                    throw new PeerLostException(-1, $"rendezvous at {Name(place)}: another program held port {place.MasterPort} of rank 0 for "
                        + $"{timeout.TotalSeconds:0.#} s; end that program, or choose another MASTER_PORT", e);
                }
            }
        }
    }

    /// <summary>Where rank 0 reaches its own listener: not by MASTER_ADDR, whose name may not be known yet.</summary>
    public static IPEndPoint OwnEndpoint(Socket listener)
    {
        var local = (IPEndPoint)listener.LocalEndPoint!;
        bool any = local.Address.Equals(IPAddress.Any) || local.Address.Equals(IPAddress.IPv6Any);
        return any ? new IPEndPoint(IPAddress.Loopback, local.Port) : local;
    }

    /// <summary>Connects once.</summary>
    /// <exception cref="SocketException">Nobody listens there, or the name is not known.</exception>
    public static async Task<Socket> ConnectAsync(EndPoint endpoint, CancellationToken cancel)
    {
        var socket = endpoint is IPEndPoint address
            ? new Socket(address.AddressFamily, SocketType.Stream, ProtocolType.Tcp)
            : new Socket(SocketType.Stream, ProtocolType.Tcp);
        try
        {
            socket.NoDelay = true;
            await socket.ConnectAsync(endpoint, cancel).ConfigureAwait(false);
            return socket;
        }
        catch
        {
            socket.Dispose();
            throw;
        }
    }
}

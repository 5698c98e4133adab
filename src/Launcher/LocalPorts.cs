using System.Net;
using System.Net.Sockets;
using DeepSpeedSharp.Jobs;

namespace DeepSpeedSharp.Launcher;

/// <summary>The ports of one attempt on this machine.</summary>
/// <param name="Master">Port of rank 0.</param>
/// <param name="Metrics">Metrics port of each node.</param>
/// <param name="Notes">A sentence for each port that is not the expected one.</param>
internal sealed record LocalPorts(int Master, IReadOnlyList<int> Metrics, IReadOnlyList<string> Notes)
{
    /// <summary>Finds ports by binding them: the expected ones where free, others where not.</summary>
    /// <param name="nodes">Number of nodes.</param>
    /// <param name="metricsPort">Metrics port of node 0; node i expects the i-th after it.</param>
    /// <remarks>All are held until the last is found, so they differ. A stranger may still take one before the
    /// worker does; the worker's message then names the port.</remarks>
    public static LocalPorts Find(int nodes, int metricsPort)
    {
        var held = new List<TcpListener>();
        var notes = new List<string>();
        try
        {
            int master = Hold(JobDefaults.MasterPort, "rank 0 listens");
            return new LocalPorts(master, [.. Enumerable.Range(0, nodes)
                .Select(i => Hold(metricsPort + i, $"node {i} serves metrics"))], notes);
        }
        finally
        {
            held.ForEach(listener => listener.Stop());
        }

        int Hold(int expected, string use)
        {
            // Every address, not only loopback: a worker may listen on all of them.
            TcpListener? listener = expected <= IPEndPoint.MaxPort ? TryListen(expected) : null;
            bool isFree = listener is not null;
            held.Add(listener ??= ListenAnywhere());
            int port = PortOf(listener);
            if (!isFree)
            {
                notes.Add($"port {expected} is taken; {use} on port {port}");
            }

            return port;
        }
    }

    /// <summary>Any free port. Two programs that start in the same moment hardly ever get the same one; of the usual port, both would
    /// find that it is free.</summary>
    public static int Any()
    {
        using TcpListener listener = ListenAnywhere();
        return PortOf(listener);
    }

    private static int PortOf(TcpListener listener) => ((IPEndPoint)listener.LocalEndpoint).Port;

    private static TcpListener ListenAnywhere() => TryListen(0) ?? throw new IOException("no TCP port is free on this machine");

    private static TcpListener? TryListen(int port)
    {
        var listener = new TcpListener(IPAddress.Any, port);
        try
        {
            listener.Start();
            return listener;
        }
        catch (SocketException)
        {
            listener.Dispose();
            return null;
        }
    }
}

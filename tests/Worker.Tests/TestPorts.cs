using System.Net;
using System.Net.Sockets;

namespace DeepSpeedSharp.Worker.Tests;

/// <summary>Ports for ranks that a test starts.</summary>
internal static class TestPorts
{
    /// <summary>A port below those that the kernel gives to whoever asks for any: nobody takes it before the test does.</summary>
    public static int Free()
    {
        while (true)
        {
            int port = Random.Shared.Next(23_000, 29_000);
            try
            {
                using var probe = new TcpListener(IPAddress.Loopback, port);
                probe.Start();
                return port;
            }
            catch (SocketException)
            {
                // Taken: try another.
            }
        }
    }
}

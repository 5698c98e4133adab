using System.Globalization;
using System.Net;

namespace DeepSpeedSharp.Launcher.Launch;

/// <summary>The TCP connection of the sshd that this process runs under.</summary>
/// <param name="Remote">The client's end.</param>
/// <param name="Local">This host's end.</param>
internal sealed record SshConnection(IPEndPoint Remote, IPEndPoint Local)
{
    private static readonly string[] Tables = ["/proc/net/tcp", "/proc/net/tcp6"];

    /// <summary>Reads sshd's variable: <c>client port server port</c>.</summary>
    /// <returns>The connection, or null when the text says nothing of one.</returns>
    public static SshConnection? Parse(string? text) =>
        text?.Split(' ') is [{ } client, { } clientPort, { } server, { } serverPort]
        && End(client, clientPort) is { } remote && End(server, serverPort) is { } local ? new SshConnection(remote, local) : null;

    /// <summary>Whether something was sent that the other side has not acknowledged, and was sent again.</summary>
    public bool IsRetransmitting() => Tables.Where(File.Exists).SelectMany(ReadLines).Any(IsRetransmittingIn);

    /// <summary>Whether a line of the kernel's table is of this connection, and says so.</summary>
    /// <remarks>Fields: number, local, remote, state, queues, timer, retransmissions (proc_net_tcp of the kernel's
    /// documentation). Timer 1 is the one for retransmission; a receiver that takes nothing has timer 4.</remarks>
    public bool IsRetransmittingIn(string line)
    {
        string[] fields = line.Split(' ', StringSplitOptions.RemoveEmptyEntries);
        return fields.Length > 6 && fields[5].StartsWith("01:", StringComparison.Ordinal)
            && long.TryParse(fields[6], NumberStyles.HexNumber, CultureInfo.InvariantCulture, out long again) && again > 0
            && Local.Equals(EndOf(fields[1])) && Remote.Equals(EndOf(fields[2]));
    }

    private static IEnumerable<string> ReadLines(string path)
    {
        try
        {
            return File.ReadAllLines(path);
        }
        catch (IOException)
        {
            return [];
        }
    }

    private static IPEndPoint? End(string address, string port) =>
        IPAddress.TryParse(address.Split('%')[0], out IPAddress? ip) && ushort.TryParse(port, CultureInfo.InvariantCulture, out ushort number)
            ? new IPEndPoint(Plain(ip), number) : null;

    // Hexadecimal words in the order of this machine's bytes, which is little-endian wherever .NET runs.
    private static IPEndPoint? EndOf(string field)
    {
        string[] parts = field.Split(':');
        if (parts.Length != 2 || parts[0].Length is not (8 or 32)
            || !ushort.TryParse(parts[1], NumberStyles.HexNumber, CultureInfo.InvariantCulture, out ushort port))
        {
            return null;
        }

        byte[] bytes = Convert.FromHexString(parts[0]);
        for (int word = 0; word < bytes.Length; word += 4)
        {
            bytes.AsSpan(word, 4).Reverse();
        }

        return new IPEndPoint(Plain(new IPAddress(bytes)), port);
    }

    private static IPAddress Plain(IPAddress address) => address.IsIPv4MappedToIPv6 ? address.MapToIPv4() : address;
}

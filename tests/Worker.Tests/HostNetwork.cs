using System.ComponentModel;
using System.Diagnostics;

namespace DeepSpeedSharp.Worker.Tests;

/// <summary>Hosts that are network namespaces, with cables to a switch in a namespace of its own: 10.77.0.1, 10.77.0.2 and so on.
/// Nothing of it reaches the machine's own network.</summary>
internal sealed class HostNetwork : IDisposable
{
    private readonly string _prefix = $"dst{Environment.ProcessId}-{Interlocked.Increment(ref _count)}";
    private readonly int _hosts;
    private readonly DelayLine? _delay;

    private static int _count;

    /// <param name="hosts">Number of hosts.</param>
    /// <param name="slow">The host whose cable carries 100 Mbit/s and takes 20 ms.</param>
    public HostNetwork(int hosts, int slow)
    {
        _hosts = hosts;
        try
        {
            Ip($"netns add {Switch}");
            Ip($"-n {Switch} link add bridge type bridge");
            Ip($"-n {Switch} link set bridge up");
            for (int host = 0; host < hosts; host++)
            {
                Ip($"netns add {Name(host)}");
                Ip($"-n {Name(host)} link set lo up");
                if (host != slow)
                {
                    Ip($"-n {Switch} link add port{host} type veth peer name eth0 netns {Name(host)}");
                }
                else
                {
                    _delay = SlowCable(host);
                }

                Ip($"-n {Switch} link set port{host} master bridge");
                Ip($"-n {Switch} link set port{host} up");
                Ip($"-n {Name(host)} addr add {Address(host)}/24 dev eth0");
                Ip($"-n {Name(host)} link set eth0 up");
            }
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    /// <summary>How the slow cable is made on this machine.</summary>
    public string SlowCableBy { get; private set; } = "";

    private string Switch => $"{_prefix}-switch";

    /// <summary>Why hosts cannot be made here; null when they can.</summary>
    public static string? Obstacle()
    {
        if (Environment.UserName != "root")
        {
            return "network namespaces need root";
        }

        try
        {
            Run("ip", "-V");
            Run("tc", "-V");
            string name = $"dst{Environment.ProcessId}-try";
            Run("ip", $"netns add {name}");
            Run("ip", $"netns del {name}");
            return null;
        }
        catch (Exception e) when (e is Win32Exception or InvalidOperationException)
        {
            return $"no network namespaces here: {e.Message}";
        }
    }

    /// <summary>The namespace of a host.</summary>
    public string Name(int host) => $"{_prefix}-{host}";

    /// <summary>The address of a host.</summary>
    public static string Address(int host) => $"10.77.0.{host + 1}";

    /// <summary>Pulls a host's cable out of the switch.</summary>
    public void Cut(int host) => Ip($"-n {Switch} link set port{host} down");

    public void Dispose()
    {
        foreach (string name in Enumerable.Range(0, _hosts).Select(Name).Append(Switch))
        {
            try
            {
                Ip($"netns del {name}");
            }
            catch (InvalidOperationException)
            {
                // Was not made.
            }
        }

        _delay?.Dispose();
    }

    // The kernel's netem delays where it is built in; elsewhere frames are carried, and held back, by this process.
    private DelayLine? SlowCable(int host)
    {
        const string Rate = "tbf rate 100mbit burst 64kb latency 100ms";
        Ip($"-n {Switch} link add port{host} type veth peer name eth0 netns {Name(host)}");
        try
        {
            Run("tc", $"-n {Switch} qdisc add dev port{host} root netem delay 20ms rate 100mbit");
            Run("tc", $"-n {Name(host)} qdisc add dev eth0 root netem delay 20ms rate 100mbit");
            SlowCableBy = "netem";
            return null;
        }
        catch (InvalidOperationException)
        {
            Ip($"-n {Switch} link del port{host}");
        }

        string[] ends = [$"{_prefix}p{host}", $"{_prefix}e{host}"];
        var delay = new DelayLine(ends[0], ends[1], TimeSpan.FromMilliseconds(20));
        Ip($"link set {ends[0]} netns {Switch} name port{host}");
        Ip($"link set {ends[1]} netns {Name(host)} name eth0");
        Run("tc", $"-n {Switch} qdisc add dev port{host} root {Rate}");
        Run("tc", $"-n {Name(host)} qdisc add dev eth0 root {Rate}");
        SlowCableBy = "tbf and a delay line";
        return delay;
    }

    private static void Ip(string arguments) => Run("ip", arguments);

    private static void Run(string program, string arguments)
    {
        using Process process = Process.Start(new ProcessStartInfo(program, arguments) { RedirectStandardError = true, RedirectStandardOutput = true })!;
        string said = process.StandardError.ReadToEnd();
        process.WaitForExit();
        if (process.ExitCode != 0)
        {
            throw new InvalidOperationException($"{program} {arguments}: {said}");
        }
    }
}

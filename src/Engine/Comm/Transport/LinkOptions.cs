using System.Globalization;
using DeepSpeedSharp.Config;

namespace DeepSpeedSharp.Engine.Comm.Transport;

/// <summary>Settings of the links between ranks, from the environment.</summary>
internal sealed record LinkOptions
{
    private const int MostStreams = 16;

    /// <summary>DEEPSPEED_COMM_SHM: 0 keeps ranks of one host from sharing memory; they use TCP.</summary>
    public bool SharesMemory { get; init; } = true;

    /// <summary>DEEPSPEED_COMM_STREAMS: connections to each rank of another host.</summary>
    public int Streams { get; init; } = 4;

    /// <summary>DEEPSPEED_COMM_DEBUG or TORCH_DISTRIBUTED_DEBUG=DETAIL: ranks compare what they have called.</summary>
    public bool Debug { get; init; }

    /// <summary>What ranks that can share memory have in common; another one in tests that stand for several hosts.</summary>
    public string Host { get; init; } = IdentityOfHost();

    /// <summary>Reads the settings.</summary>
    /// <param name="read">Gives the value of a variable, or null.</param>
    /// <exception cref="ConfigException">A value makes no sense.</exception>
    public static LinkOptions Read(Func<string, string?> read)
    {
        var errors = new ConfigErrors();
        var options = new LinkOptions { Debug = DebugCheck.IsOn(read) };
        if (read("DEEPSPEED_COMM_STREAMS") is { Length: > 0 } text)
        {
            if (int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out int streams) && streams is >= 1 and <= MostStreams)
            {
                options = options with { Streams = streams };
            }
            else
            {
                errors.Add("DEEPSPEED_COMM_STREAMS", $"\"{text}\" is not a number of connections", $"use 1 to {MostStreams}");
            }
        }

        if (read("DEEPSPEED_COMM_SHM") is { Length: > 0 } sharing)
        {
            if (sharing is "0" or "1")
            {
                options = options with { SharesMemory = sharing == "1" };
            }
            else
            {
                errors.Add("DEEPSPEED_COMM_SHM", $"\"{sharing}\" is neither 0 nor 1", "use 0 to keep ranks of one host from sharing memory");
            }
        }

        errors.ThrowIfAny("the environment of this process");
        return options;
    }

    // One kernel, one set of processes, one network, one user: what it takes to open another process's memory. Pods on one machine
    // differ in this, and use TCP.
    private static string IdentityOfHost()
    {
        if (!Posix.IsSupported)
        {
            return $"{System.Environment.MachineName}/{System.Environment.ProcessId}";
        }

        string boot = Try(() => File.ReadAllText("/proc/sys/kernel/random/boot_id").Trim());
        string processes = Try(() => new FileInfo("/proc/self/ns/pid").LinkTarget);
        string network = Try(() => new FileInfo("/proc/self/ns/net").LinkTarget);
        return $"{boot}/{processes}/{network}/{System.Environment.UserName}";

        static string Try(Func<string?> read)
        {
            try
            {
                return read() ?? "";
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                return System.Environment.MachineName;
            }
        }
    }
}

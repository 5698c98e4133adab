using System.Globalization;
using DeepSpeedSharp.Config;
using DeepSpeedSharp.Engine.Comm.Nccl;
using TorchSharp;

namespace DeepSpeedSharp.Engine;

/// <summary>Turns the arguments of <see cref="DeepSpeed.InitDistributed"/> and the environment into what this process is to do.</summary>
internal static class DistributedInit
{
    /// <summary>Where this process stands.</summary>
    public static WorkerEnvironment Place(Func<string, string?> read, bool discover, int port, string? initMethod, int rank, int worldSize)
    {
        (string? host, int? initPort) = Parse(initMethod);
        bool given = rank >= 0 || worldSize >= 0 || host is not null;
        if (given && (rank < 0) != (worldSize < 0))
        {
            throw Error(rank < 0 ? "rank" : "worldSize", "it is not given, but the other of rank and worldSize is", "give both, or none and set RANK and WORLD_SIZE");
        }

        // An argument counts like the variable it stands for, and before it.
        return WorkerEnvironment.Read(name => name switch
        {
            "RANK" when rank >= 0 => Text(rank),
            "WORLD_SIZE" when worldSize >= 0 => Text(worldSize),
            "MASTER_ADDR" when host is not null => host,
            "MASTER_PORT" when initPort is { } one => Text(one),
            "LOCAL_RANK" when rank >= 0 && read(name) is not { Length: > 0 } => Text(rank),
            "MASTER_ADDR" when given && worldSize == 1 && read(name) is not { Length: > 0 } => "127.0.0.1",
            // Like the original's distributed_port: for a run that names its address only.
            "MASTER_PORT" when read(name) is not { Length: > 0 } && read("MASTER_ADDR") is { Length: > 0 } || (given && read(name) is not { Length: > 0 }) => Text(port),
            _ => read(name),
        }, discover);
    }

    /// <summary>How long ranks wait for each other.</summary>
    public static TimeSpan Timeout(Func<string, string?> read, TimeSpan whenUnset)
    {
        string? text = read("DEEPSPEED_TIMEOUT");
        if (string.IsNullOrEmpty(text))
        {
            return whenUnset;
        }

        return double.TryParse(text, CultureInfo.InvariantCulture, out double minutes) && minutes is > 0 and < 100_000
            ? TimeSpan.FromMinutes(minutes)
            : throw Error("DEEPSPEED_TIMEOUT", $"\"{text}\" is not a number of minutes", "use a number above 0, for example 10");
    }

    /// <summary>Whether CUDA tensors should go through NCCL.</summary>
    /// <param name="backend">The caller's wish; null takes the device's own.</param>
    /// <param name="read">Gives the value of a variable, or null.</param>
    public static NcclWish UsesNccl(string? backend, Func<string, string?> read)
    {
        string? wish = string.IsNullOrEmpty(backend) ? read("DEEPSPEED_COMM_BACKEND") : backend;
        return wish?.ToLowerInvariant() switch
        {
            null or "" => string.Equals(read("DS_ACCELERATOR"), "cpu", StringComparison.OrdinalIgnoreCase) ? NcclWish.No : NcclWish.WherePossible,
            "nccl" => torch.cuda.is_available() ? NcclWish.Yes
                : throw Error("dist_backend", "\"nccl\" moves CUDA tensors, and this process sees no GPU", "use \"host\", or see docs/troubleshooting.md"),
            // The names that DeepSpeed's users write for collectives on CPUs.
            "host" or "gloo" or "ccl" => NcclWish.No,
            _ => throw Error("dist_backend", $"\"{wish}\" is no backend of this engine", "use \"nccl\" for GPUs or \"host\" (also \"gloo\", \"ccl\") for CPUs; MPI only places ranks"),
        };
    }

    private static (string? Host, int? Port) Parse(string? initMethod)
    {
        if (string.IsNullOrEmpty(initMethod) || initMethod == "env://")
        {
            return (null, null);
        }

        return Uri.TryCreate(initMethod, UriKind.Absolute, out Uri? uri) && uri.Scheme == "tcp" && uri.Port > 0
            ? (uri.Host, uri.Port)
            : throw Error("init_method", $"\"{initMethod}\" is neither env:// nor tcp://host:port", "use one of these, or leave it out");
    }

    private static ConfigException Error(string what, string problem, string fix) =>
        new("the start of the distributed run", [new ConfigError(what, problem, fix)]);

    private static string Text(int value) => value.ToString(CultureInfo.InvariantCulture);
}

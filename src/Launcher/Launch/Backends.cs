using DeepSpeedSharp.Config;

namespace DeepSpeedSharp.Launcher.Launch;

/// <summary>Names of the backends, and the programs they need.</summary>
internal static class Backends
{
    private static readonly Dictionary<string, Backend> Known = Enum.GetValues<Backend>()
        .ToDictionary(NameOf, backend => backend, StringComparer.OrdinalIgnoreCase);

    /// <summary>All names, for people.</summary>
    public static string Names => string.Join(", ", Known.Keys);

    /// <summary>All names.</summary>
    public static IReadOnlyList<string> All => [.. Known.Keys];

    /// <summary>The name users write.</summary>
    public static string NameOf(Backend backend) => backend.ToString().ToLowerInvariant();

    /// <summary>Reads a name; upper and lower case are the same.</summary>
    /// <exception cref="FormatException">There is no such backend.</exception>
    public static Backend Parse(string name) => Known.TryGetValue(name, out Backend backend) ? backend
        : throw new FormatException(
            NearestName.Find(name, Known.Keys) is { } near ? $"did you mean {near}?" : $"use one of {Names}");

    /// <summary>The program that has to be installed on this machine.</summary>
    public static string ProgramOf(Backend backend) => backend switch
    {
        Backend.Pdsh => "pdsh",
        Backend.Ssh => "ssh",
        Backend.Slurm => "srun",
        _ => "mpirun",
    };

    /// <summary>Whether the backend starts the ranks itself, rather than a launcher on each node.</summary>
    public static bool StartsRanks(Backend backend) => backend is not (Backend.Pdsh or Backend.Ssh);
}

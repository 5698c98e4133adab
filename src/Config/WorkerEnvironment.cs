using System.Globalization;

namespace DeepSpeedSharp.Config;

/// <summary>Where a process stands among the ranks: the only reader and writer of RANK, WORLD_SIZE and the rest.</summary>
/// <remarks>
/// The names are those of DeepSpeed's launcher and torchrun. A node whose slots are several processes has no RANK
/// and LOCAL_RANK of its own; its program starts one process per slot with <see cref="ForSlot"/>.
/// </remarks>
public sealed record WorkerEnvironment
{
    /// <summary>Index of this process over all nodes; null on a node that has several slots.</summary>
    public int? Rank { get; init; } = 0;

    /// <summary>Index of this process on its node; null on a node that has several slots.</summary>
    public int? LocalRank { get; init; } = 0;

    /// <summary>Number of processes over all nodes.</summary>
    public int WorldSize { get; init; } = 1;

    /// <summary>Number of processes on this node (DeepSpeed's slots).</summary>
    public int LocalWorldSize { get; init; } = 1;

    /// <summary>Index of this node.</summary>
    public int NodeRank { get; init; }

    /// <summary>Number of nodes.</summary>
    public int Nodes { get; init; } = 1;

    /// <summary>Host where rank 0 listens.</summary>
    public string MasterAddress { get; init; } = "127.0.0.1";

    /// <summary>Port where rank 0 listens; 29500 is DeepSpeed's default.</summary>
    public int MasterPort { get; init; } = 29500;

    /// <summary>Which start of which job this process belongs to; processes of another one are turned away.</summary>
    public string RunId { get; init; } = "";

    /// <summary>The environment of one slot of this node.</summary>
    /// <param name="localRank">Index of the slot, below <see cref="LocalWorldSize"/>.</param>
    /// <returns>The same environment with RANK and LOCAL_RANK.</returns>
    public WorkerEnvironment ForSlot(int localRank) =>
        this with { Rank = NodeRank * LocalWorldSize + localRank, LocalRank = localRank };

    /// <summary>The variables to start a process with, in a fixed order.</summary>
    /// <returns>Names and values; RANK and LOCAL_RANK only when this is one process.</returns>
    public IEnumerable<KeyValuePair<string, string>> ToVariables()
    {
        yield return new("MASTER_ADDR", MasterAddress);
        yield return new("MASTER_PORT", Text(MasterPort));
        yield return new("WORLD_SIZE", Text(WorldSize));
        yield return new("NNODES", Text(Nodes));
        yield return new("NODE_RANK", Text(NodeRank));
        yield return new("GROUP_RANK", Text(NodeRank));
        yield return new("LOCAL_WORLD_SIZE", Text(LocalWorldSize));
        yield return new("LOCAL_SIZE", Text(LocalWorldSize));
        yield return new("NPROC_PER_NODE", Text(LocalWorldSize));
        yield return new("CROSS_RANK", Text(NodeRank));
        yield return new("CROSS_SIZE", Text(Nodes));
        if (Rank is { } rank && LocalRank is { } localRank)
        {
            yield return new("RANK", Text(rank));
            yield return new("LOCAL_RANK", Text(localRank));
        }
    }

    /// <summary>Reads the environment of this process.</summary>
    /// <param name="read">Gives the value of a variable, or null; usually <see cref="Environment.GetEnvironmentVariable(string)"/>.</param>
    /// <param name="discover">Whether what is missing is taken from what MPI or Slurm have set (<see cref="EnvironmentDiscovery"/>).</param>
    /// <returns>World size 1 when no variable of a distributed run is set.</returns>
    /// <exception cref="ConfigException">Some variables are set and others missing, or a value makes no sense.</exception>
    public static WorkerEnvironment Read(Func<string, string?> read, bool discover = true)
    {
        var errors = new ConfigErrors();
        string? started = null; // which start the ranks' starter says this is
        if (discover && EnvironmentDiscovery.Variables(read) is { Count: > 0 } found)
        {
            Func<string, string?> set = read;
            started = EnvironmentDiscovery.RunId(set);
            read = name => found.GetValueOrDefault(name) ?? set(name);
        }

        string[] needed = ["RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"];
        string[] missing = [.. needed.Where(name => string.IsNullOrEmpty(read(name)))];
        if (missing.Length == needed.Length)
        {
            return new WorkerEnvironment();
        }

        int? worldSize = Number("WORLD_SIZE", 1);
        int localWorldSize = Number("LOCAL_WORLD_SIZE", 1) ?? 1;
        bool isNode = localWorldSize > 1 && missing.Contains("RANK") && missing.Contains("LOCAL_RANK");
        foreach (string name in missing.Where(name => !isNode || name is not ("RANK" or "LOCAL_RANK")))
        {
            errors.Add(name, "it is not set, but other variables of a distributed run are",
                "set all of RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and MASTER_PORT, or none of them");
        }

        var environment = new WorkerEnvironment
        {
            Rank = isNode ? null : Number("RANK", 0) ?? 0,
            LocalRank = isNode ? null : Number("LOCAL_RANK", 0) ?? 0,
            WorldSize = worldSize ?? 1,
            LocalWorldSize = localWorldSize,
            NodeRank = Number("NODE_RANK", 0) ?? 0,
            Nodes = Number("NNODES", 1) ?? 1,
            MasterAddress = read("MASTER_ADDR") ?? "",
            MasterPort = Number("MASTER_PORT", 1) ?? 29500,
            RunId = read("DSJ_JOB_UID") is { Length: > 0 } job ? $"{job}/{read("DSJ_ATTEMPT")}"
                : started ?? "",
        };
        if (environment.Rank >= worldSize)
        {
            errors.Add("RANK", $"{environment.Rank} is not below WORLD_SIZE, which is {worldSize}", "ranks count from 0");
        }

        if (environment.MasterPort > 65535)
        {
            errors.Add("MASTER_PORT", $"{environment.MasterPort} is not a port", "use a value from 1 to 65535");
        }

        errors.ThrowIfAny("the environment of this process");
        return environment;

        int? Number(string name, int minimum)
        {
            string? text = read(name);
            if (string.IsNullOrEmpty(text))
            {
                return null;
            }

            if (int.TryParse(text, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out int value)
                && value >= minimum)
            {
                return value;
            }

            errors.Add(name, $"\"{text}\" is not a whole number of at least {minimum}", "correct it");
            return null;
        }
    }

    private static string Text(int value) => value.ToString(CultureInfo.InvariantCulture);
}

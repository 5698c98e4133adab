using DeepSpeedSharp.Config;

namespace DeepSpeedSharp.Launcher.Launch;

/// <summary>The cores of one rank, so that ranks of one host do not disturb each other.</summary>
/// <param name="Cores">Its cores.</param>
/// <param name="MemoryNodes">NUMA nodes whose memory is near to them; empty when unknown.</param>
internal sealed record CoreBinding(IReadOnlyList<int> Cores, IReadOnlyList<int> MemoryNodes)
{
    /// <summary>Divides cores among the ranks of a host: equal, neighbouring parts, so that a part lies in one NUMA node
    /// where it can.</summary>
    /// <param name="cores">The cores to divide, growing.</param>
    /// <param name="numaNodes">The cores of each NUMA node.</param>
    /// <param name="ranks">Ranks on this host.</param>
    /// <exception cref="ConfigException">There are fewer cores than ranks.</exception>
    public static IReadOnlyList<CoreBinding> Divide(
        IReadOnlyList<int> cores, IReadOnlyList<IReadOnlyList<int>> numaNodes, int ranks)
    {
        int each = cores.Count / ranks;
        if (each == 0)
        {
            throw Refusal.Option("--bind_cores_to_rank", $"{ranks} ranks cannot share {cores.Count} cores",
                "use fewer ranks on this host, or remove the option");
        }

        // A rank that crosses the border of a node would pay for far memory: order by node first.
        List<int> ordered = [.. cores.OrderBy(NodeOf).ThenBy(core => core)];
        return [.. Enumerable.Range(0, ranks).Select(rank =>
        {
            List<int> own = [.. ordered.Skip(rank * each).Take(each).Order()];
            int[] nodes = [.. own.Select(NodeOf).Distinct().Order()];
            return new CoreBinding(own, nodes.Contains(int.MaxValue) ? [] : nodes);
        })];

        int NodeOf(int core)
        {
            for (int node = 0; node < numaNodes.Count; node++)
            {
                if (numaNodes[node].Contains(core))
                {
                    return node;
                }
            }

            return int.MaxValue;
        }
    }

    /// <summary>What comes in front of the rank's command.</summary>
    /// <param name="hasNumactl">Whether numactl is there; otherwise taskset binds the cores and memory is left alone.</param>
    public IReadOnlyList<string> Command(bool hasNumactl) =>
    [
        .. hasNumactl ? ["numactl", "-C", CoreList.Format(Cores)] : (string[])["taskset", "-c", CoreList.Format(Cores)],
        .. hasNumactl && MemoryNodes.Count > 0 ? ["-m", CoreList.Format(MemoryNodes)] : (string[])[],
    ];
}

/// <summary>The cores and NUMA nodes of this machine, from the kernel's files.</summary>
/// <param name="Cores">One processor of each core that this program may use.</param>
/// <param name="NumaNodes">The processors of each NUMA node; empty when the kernel tells of none.</param>
/// <param name="Allowed">All processors that this program may use, also those that share a core.</param>
internal sealed record CoreTopology(IReadOnlyList<int> Cores, IReadOnlyList<IReadOnlyList<int>> NumaNodes, IReadOnlyList<int> Allowed)
{
    /// <summary>Reads the list of <c>--bind_core_list</c>.</summary>
    /// <exception cref="FormatException">It is no list, or names processors that this program may not use.</exception>
    public IReadOnlyList<int> Choose(string list)
    {
        IReadOnlyList<int> cores = CoreList.Parse(list);
        int[] missing = [.. cores.Except(Allowed)];
        return missing.Length == 0 ? cores : throw new FormatException(
            $"{CoreList.Format(missing)} of \"{list}\" cannot be used on {Environment.MachineName}; its processors are {CoreList.Format(Allowed)}");
    }

    /// <summary>Reads them.</summary>
    /// <param name="root">The root of the file system.</param>
    public static CoreTopology Read(string root = "/")
    {
        string system = Path.Combine(root, "sys/devices/system");
        IReadOnlyList<int> allowed = List(Path.Combine(root, "proc/self/status"))
            ?? [.. Enumerable.Range(0, Environment.ProcessorCount)];
        List<int> cores = [.. allowed.Where(cpu =>
            (List(Path.Combine(system, $"cpu/cpu{cpu}/topology/thread_siblings_list")) ?? [cpu]).First(allowed.Contains) == cpu)];
        var nodes = new List<IReadOnlyList<int>>();
        while (List(Path.Combine(system, $"node/node{nodes.Count}/cpulist")) is { } node)
        {
            nodes.Add(node);
        }

        return new CoreTopology(cores, nodes, allowed);
    }

    private static IReadOnlyList<int>? List(string file)
    {
        try
        {
            const string Allowed = "Cpus_allowed_list:";
            string[] lines = File.ReadAllLines(file);
            string? text = lines.Length == 1 ? lines[0]
                : lines.FirstOrDefault(l => l.StartsWith(Allowed, StringComparison.Ordinal))?[Allowed.Length..];
            return text is null ? null : text.Trim() is { Length: > 0 } list ? CoreList.Parse(list) : [];
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or FormatException)
        {
            return null;
        }
    }
}

using System.Globalization;
using DeepSpeedSharp.Config;

namespace DeepSpeedSharp.Launcher.Launch;

/// <summary>One process of the training: a rank.</summary>
/// <param name="Rank">Its number over all hosts.</param>
/// <param name="Host">Its host.</param>
/// <param name="LocalRank">Its number on the host, from 0.</param>
/// <param name="Environment">The variables that tell it so.</param>
/// <param name="CommandLine">Interpreter, program and arguments.</param>
internal sealed record RankPlan(int Rank, string Host, int LocalRank,
    IReadOnlyList<KeyValuePair<string, string>> Environment, IReadOnlyList<string> CommandLine)
{
    /// <summary>Plans every rank of every host. Ranks are numbered host by host; local ranks count on each host, also
    /// where hosts have unequal numbers of slots.</summary>
    public static IReadOnlyList<RankPlan> All(World world, LaunchOptions options)
    {
        UserProgram program = UserProgram.Of(options);
        var ranks = new List<RankPlan>();
        for (int node = 0; node < world.Hosts.Count; node++)
        {
            HostSlots host = world.Hosts[node];
            for (int localRank = 0; localRank < host.Slots.Count; localRank++)
            {
                int rank = ranks.Count;
                ranks.Add(new RankPlan(rank, host.Host, localRank, Variables(world, node, rank, localRank),
                    program.CommandLine(options, localRank)));
            }
        }

        return ranks;
    }

    private static List<KeyValuePair<string, string>> Variables(World world, int node, int rank, int localRank)
    {
        HostSlots host = world.Hosts[node];
        var environment = new WorkerEnvironment
        {
            Rank = rank,
            LocalRank = localRank,
            WorldSize = world.Size,
            LocalWorldSize = host.Slots.Count,
            NodeRank = node,
            Nodes = world.Hosts.Count,
            MasterAddress = world.MasterAddress,
            MasterPort = world.MasterPort,
        };
        if (world.Backend is { } backend && Backends.StartsRanks(backend))
        {
            return [.. environment.ToVariables().Where(v => MpiRank.Names.Contains(v.Key)),
                .. world.CpuRanks ? [new(LocalSlots.VisibleDevices, "")] : (KeyValuePair<string, string>[])[]];
        }

        return [.. environment.ToVariables(),
            new(LocalSlots.VisibleDevices, world.CpuRanks ? "" : string.Join(',', host.Slots))];
    }

    /// <summary>The file of <c>--enable_each_rank_log</c>.</summary>
    /// <param name="folder">The folder.</param>
    /// <param name="start">When the node was started.</param>
    public string LogFile(string folder, DateTimeOffset start) =>
        Path.Combine(folder, string.Create(CultureInfo.InvariantCulture, $"{start:yyyyMMddHHmmss}_rank{Rank}.log"));
}

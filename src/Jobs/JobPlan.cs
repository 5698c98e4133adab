using System.Globalization;
using DeepSpeedSharp.Config;

namespace DeepSpeedSharp.Jobs;

/// <summary>Which run of which job this is.</summary>
/// <param name="Name">Name of the job.</param>
/// <param name="Namespace">Namespace of the job.</param>
/// <param name="Uid">Identity of the job object.</param>
/// <param name="Attempt">Number of this start of the whole job, from 1.</param>
/// <param name="Restarts">Counted failures before this start.</param>
public sealed record JobIdentity(string Name, string Namespace, string Uid, int Attempt, int Restarts);

/// <summary>Where a job's nodes stand and where its files are: pods, or processes of one machine.</summary>
/// <param name="HostName">Host name of a node, by its index.</param>
/// <param name="MasterPort">Port where rank 0 listens.</param>
/// <param name="ConfigPath">Where the DeepSpeed config is; null when the job has none.</param>
/// <param name="HostfilePath">Where the hostfile is.</param>
/// <param name="CheckpointDirectory">Where checkpoints go; null when the job keeps none.</param>
/// <param name="MetricsPort">Port of a node's metrics endpoint, by its index.</param>
public sealed record JobPlacement(
    Func<int, string> HostName, int MasterPort, string? ConfigPath, string HostfilePath, string? CheckpointDirectory,
    Func<int, int> MetricsPort);

/// <summary>One node of a job: a pod, or a process that stands in for it.</summary>
/// <param name="Index">Index of the node.</param>
/// <param name="HostName">Its host name.</param>
/// <param name="Environment">What its program is started with, in order.</param>
/// <param name="Ranks">The ranks that run on it.</param>
public sealed record NodePlan(
    int Index, string HostName, IReadOnlyList<KeyValuePair<string, string>> Environment, IReadOnlyList<RankPlan> Ranks);

/// <summary>One rank of a job.</summary>
/// <param name="Rank">Index over all nodes.</param>
/// <param name="LocalRank">Index on its node.</param>
/// <param name="Environment">All variables of its process, in order.</param>
public sealed record RankPlan(int Rank, int LocalRank, IReadOnlyList<KeyValuePair<string, string>> Environment);

/// <summary>A job's ranks and the environment of each. A pure function of job and placement, used by operator and
/// launcher alike, so that a job means the same on a cluster and on one machine.</summary>
/// <param name="Nodes">The nodes, in rank order.</param>
/// <param name="WorldSize">Number of ranks.</param>
/// <param name="MasterAddress">Host of rank 0.</param>
/// <param name="MasterPort">Port of rank 0.</param>
/// <param name="Hostfile">The nodes as a DeepSpeed hostfile.</param>
public sealed record JobPlan(
    IReadOnlyList<NodePlan> Nodes, int WorldSize, string MasterAddress, int MasterPort, string Hostfile)
{
    /// <summary>Plans a job.</summary>
    /// <param name="spec">A valid spec.</param>
    /// <param name="identity">Which run of which job.</param>
    /// <param name="placement">Where nodes and files are.</param>
    /// <param name="elasticity">The <c>elasticity</c> section of its DeepSpeed config as JSON, when that is enabled.</param>
    /// <returns>The plan; equal inputs give equal plans.</returns>
    public static JobPlan From(
        DeepSpeedJobSpec spec, JobIdentity identity, JobPlacement placement, string? elasticity = null)
    {
        string[] hosts = [.. Enumerable.Range(0, spec.Pods()).Select(placement.HostName)];
        KeyValuePair<string, string>[] launcher = [.. LauncherVariables.Of(spec, identity, hosts, elasticity)];
        NodePlan[] nodes = [.. hosts.Select((host, i) => Node(spec, identity, placement, host, i, hosts[0], launcher))];
        string hostfile = string.Concat(hosts.Select(host => $"{host} slots={spec.PodSlots()}\n"));
        return new JobPlan(nodes, spec.WorldSize(), hosts[0], placement.MasterPort, hostfile);
    }

    private static NodePlan Node(DeepSpeedJobSpec spec, JobIdentity identity, JobPlacement placement, string host, int index,
        string master, IReadOnlyList<KeyValuePair<string, string>> launcher)
    {
        int slots = spec.PodSlots();
        var place = new WorkerEnvironment
        {
            Rank = slots == 1 ? index : null,
            LocalRank = slots == 1 ? 0 : null,
            WorldSize = spec.WorldSize(),
            LocalWorldSize = slots,
            NodeRank = index,
            Nodes = spec.Pods(),
            MasterAddress = master,
            MasterPort = placement.MasterPort,
        };
        KeyValuePair<string, string>[] job =
        [
            .. JobVariables(spec, identity, placement, index), .. LauncherVariables.OfNode(spec, place), .. launcher,
        ];
        return new NodePlan(index, host, [.. place.ToVariables(), .. job],
            [.. Enumerable.Range(0, slots).Select(place.ForSlot).Select(p =>
                new RankPlan(p.Rank!.Value, p.LocalRank!.Value, [.. p.ToVariables(), .. job]))]);
    }

    private static IEnumerable<KeyValuePair<string, string>> JobVariables(
        DeepSpeedJobSpec spec, JobIdentity identity, JobPlacement placement, int index)
    {
        yield return new("DSJ_JOB_NAME", identity.Name);
        yield return new("DSJ_NAMESPACE", identity.Namespace);
        yield return new("DSJ_JOB_UID", identity.Uid);
        yield return new("DSJ_ATTEMPT", Text(identity.Attempt));
        yield return new("DSJ_RESTARTS", Text(identity.Restarts));
        if (placement.ConfigPath is { } config)
        {
            yield return new("DSJ_CONFIG", config);
            yield return new("DS_CONFIG", config);
        }

        yield return new("DSJ_HOSTFILE", placement.HostfilePath);
        if (placement.CheckpointDirectory is { } checkpoints)
        {
            yield return new("DSJ_CHECKPOINT_DIR", checkpoints);
        }

        yield return new("DSJ_METRICS_PORT", Text(placement.MetricsPort(index)));
        yield return new("DSJ_METRICS_PATH", spec.MetricsPath());
    }

    private static string Text(int value) => value.ToString(CultureInfo.InvariantCulture);
}

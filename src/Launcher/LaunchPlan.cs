using System.Globalization;
using DeepSpeedSharp.Config;
using DeepSpeedSharp.Jobs;

namespace DeepSpeedSharp.Launcher;

/// <summary>One process to start: it stands in for a pod.</summary>
/// <param name="Index">Index of the node.</param>
/// <param name="Label">What its lines begin with: <c>rank 0</c>, or <c>node 0</c> when it has several ranks.</param>
/// <param name="FullName">Ranks and node, for sentences.</param>
/// <param name="CommandLine">Program and arguments.</param>
/// <param name="JobEnvironment">The variables a pod would get, in order.</param>
/// <param name="Environment">All variables of the process.</param>
internal sealed record LaunchNode(
    int Index, string Label, string FullName, IReadOnlyList<string> CommandLine,
    IReadOnlyList<KeyValuePair<string, string>> JobEnvironment, IReadOnlyDictionary<string, string> Environment);

/// <summary>What to start on this machine for one attempt of a job. A pure function of its inputs.</summary>
/// <param name="Job">The plan that a cluster would follow too.</param>
/// <param name="Nodes">The processes.</param>
internal sealed record LaunchPlan(JobPlan Job, IReadOnlyList<LaunchNode> Nodes)
{
    /// <summary>Refuses what only a cluster has.</summary>
    /// <param name="spec">A valid spec.</param>
    /// <param name="errors">Receives every problem.</param>
    public static void Check(DeepSpeedJobSpec spec, ConfigErrors errors)
    {
        IReadOnlyList<EnvVar> variables = spec.Env ?? [];
        for (int i = 0; i < variables.Count; i++)
        {
            if (variables[i].ValueFrom is not null)
            {
                errors.Add($"spec.env[{i}].valueFrom",
                    $"{variables[i].Name} takes its value from the cluster, and there is none",
                    "give a value for runs on this machine; valueFrom works only on a cluster");
            }
        }
    }

    /// <summary>Host of a node. All of 127.0.0.0/8 is this machine, so each node has an address of its own.</summary>
    public static string HostName(int node) => string.Create(CultureInfo.InvariantCulture,
        $"127.{(node + 1) >> 16}.{((node + 1) >> 8) & 255}.{(node + 1) & 255}");

    /// <summary>Plans an attempt.</summary>
    /// <param name="spec">A valid spec without references to a cluster.</param>
    /// <param name="identity">Which attempt of which job.</param>
    /// <param name="placement">Ports and files on this machine.</param>
    /// <param name="command">The worker's program; the manifest's own command replaces it.</param>
    /// <param name="machine">This machine.</param>
    public static LaunchPlan From(
        DeepSpeedJobSpec spec, JobIdentity identity, JobPlacement placement, string? command, LocalMachine machine)
    {
        JobPlan job = JobPlan.From(spec, identity, placement);
        return new LaunchPlan(job, [.. job.Nodes.Select(node => Node(spec, identity, node, command, machine))]);
    }

    private static LaunchNode Node(
        DeepSpeedJobSpec spec, JobIdentity identity, NodePlan node, string? command, LocalMachine machine)
    {
        List<KeyValuePair<string, string>> job =
        [
            .. node.Environment,
            new("POD_NAME", $"{identity.Name}-{identity.Attempt}-{node.Index}"),
            new("POD_IP", node.HostName),
            new("CLUSTER_NODE", machine.Name),
        ];
        var known = job.ToDictionary();
        foreach (EnvVar variable in spec.Env ?? [])
        {
            // As in a pod: a value may refer only to variables before it.
            known[variable.Name] = VariableExpansion.Expand(variable.Value ?? "", known);
            job.Add(new(variable.Name, known[variable.Name]));
        }

        Dictionary<string, string> all = machine.Environment
            .Where(inherited => !JobValidation.ReservedVariables.Contains(inherited.Key)).ToDictionary();
        foreach ((string name, string value) in MachineVariables(spec, node.Index, machine).Concat(job))
        {
            all[name] = value;
        }

        IEnumerable<string> line = [.. spec.Command is { Count: > 0 } own ? own : [command!], .. spec.Args ?? []];
        string ranks = node.Ranks.Count == 1
            ? $"rank {node.Ranks[0].Rank}" : $"ranks {node.Ranks[0].Rank} to {node.Ranks[^1].Rank}";
        return new LaunchNode(node.Index, node.Ranks.Count == 1 ? ranks : $"node {node.Index}",
            node.Ranks.Count == 1 ? $"{ranks} (node {node.Index})" : $"node {node.Index} ({ranks})",
            [.. line.Select(text => VariableExpansion.Expand(text, known))], job, all);
    }

    // What a pod's limits do on a cluster: divide the machine's processors and GPUs among the nodes.
    private static IEnumerable<KeyValuePair<string, string>> MachineVariables(
        DeepSpeedJobSpec spec, int node, LocalMachine machine)
    {
        // Threads that spin while they wait would take the other ranks' processors.
        int threads = Math.Max(1, machine.Cores / spec.WorldSize());
        foreach ((string name, string value) in new[]
        {
            ("OMP_NUM_THREADS", threads.ToString(CultureInfo.InvariantCulture)), ("OMP_WAIT_POLICY", "PASSIVE"),
        })
        {
            if (!machine.Environment.ContainsKey(name))
            {
                yield return new(name, value);
            }
        }

        const string Visible = "CUDA_VISIBLE_DEVICES";
        if (spec.Gpus() == 0)
        {
            yield return new(Visible, "");
        }
        else if (spec.Pods() > 1)
        {
            string[] devices = machine.Environment.GetValueOrDefault(Visible)?.Split(',')
                ?? [.. Enumerable.Range(0, spec.WorldSize()).Select(i => i.ToString(CultureInfo.InvariantCulture))];
            yield return new(Visible, string.Join(',', devices.Skip(node * spec.PodGpus()).Take(spec.PodGpus())));
        }
    }
}

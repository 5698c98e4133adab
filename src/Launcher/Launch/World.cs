using DeepSpeedSharp.Config;

namespace DeepSpeedSharp.Launcher.Launch;

/// <summary>What a command on another host answered.</summary>
/// <param name="IsReachable">Whether ssh got there and the command ended well.</param>
/// <param name="Text">What it printed; ssh's own message when it failed.</param>
internal sealed record SshAnswer(bool IsReachable, string Text);

/// <summary>What resolving a command line needs to know; each question is asked only when the answer matters.</summary>
/// <param name="Hostfile">Text of the hostfile; null when there is none.</param>
/// <param name="Environment">This program's environment.</param>
/// <param name="DeviceCount">Number of GPUs of this machine.</param>
/// <param name="Ssh">Runs a command on a host.</param>
/// <param name="IsInstalled">Whether this machine has a program.</param>
internal sealed record Surroundings(string? Hostfile, IReadOnlyDictionary<string, string> Environment,
    Func<int> DeviceCount, Func<string, string, SshAnswer> Ssh, Func<string, bool> IsInstalled);

/// <summary>Which ranks run where, and how they get there. The outcome of resolving a command line.</summary>
/// <param name="Hosts">The hosts in the order of their node ranks.</param>
/// <param name="MasterAddress">Where rank 0 listens.</param>
/// <param name="MasterPort">Its port.</param>
/// <param name="Backend">How to start the nodes; null when this process is the launcher of its node.</param>
/// <param name="NodeRank">Which of the hosts this process launches, where it does.</param>
/// <param name="CpuRanks">Whether the ranks see no GPU.</param>
/// <param name="Notes">What the user should know.</param>
internal sealed record World(IReadOnlyList<HostSlots> Hosts, string MasterAddress, int MasterPort, Backend? Backend,
    int NodeRank, bool CpuRanks, IReadOnlyList<string> Notes)
{
    /// <summary>Number of ranks.</summary>
    public int Size => Hosts.Sum(host => host.Slots.Count);

    /// <summary>Resolves a command line; the order of its checks is DeepSpeed's.</summary>
    /// <exception cref="ConfigException">The options contradict each other or ask for what is not there.</exception>
    public static World Resolve(LaunchOptions options, Surroundings around)
    {
        Check(options);
        var notes = new List<string>();
        IReadOnlyList<HostSlots> hosts;
        bool cpuRanks = options.Gpus == 0;
        if (around.Hostfile is { } text)
        {
            hosts = Limit(ResourceFilter.Apply(Hostfile.Parse(text, options.Hostfile), options.Include, options.Exclude), options);
        }
        else
        {
            if (options.Nodes > 1)
            {
                throw Refusal.Option("--num_nodes", $"{options.Nodes} nodes need a hostfile, and there is none at {options.Hostfile}",
                    "give --hostfile FILE with a line HOST slots=N for each");
            }

            LocalSlots local = LocalSlots.Find(
                options, around.Environment.GetValueOrDefault(LocalSlots.VisibleDevices), around.DeviceCount);
            hosts = ResourceFilter.Apply([local.Host], options.Include, options.Exclude);
            cpuRanks = local.CpuRanks;
            notes.AddRange(local.Note is null ? [] : [local.Note]);
        }

        Backend? backend = (hosts.Count > 1 || options.ForceMulti) && !options.NoSsh ? Choose(options, around, notes) : null;
        if (backend is null && ForOtherHosts(options, isProbed: around.Hostfile is not null && !options.NoSsh && !options.NoSshCheck) is { Length: > 0 } unused)
        {
            notes.Add($"without effect: {string.Join(", ", unused)}; this command starts the ranks of this node itself"
                + (options.NoSsh ? "" : " (--force_multi starts it like many)"));
        }

        int nodeRank = NodeRankOf(hosts, options);
        return new World(hosts, MasterOf(hosts, options, around), options.MasterPort, backend, nodeRank, cpuRanks, notes);
    }

    // What only matters on the way to another host.
    private static string[] ForOtherHosts(LaunchOptions options, bool isProbed) =>
    [
        .. new (string Name, bool IsGiven)[]
        {
            ("--launcher", options.Backend is not null), ("--launcher_args", options.BackendArguments.Length > 0),
            ("--ssh_port", options.SshPort is not null && !isProbed), ("--venv_script", options.VenvScript is not null),
        }.Where(option => option.IsGiven).Select(option => option.Name),
    ];

    private static void Check(LaunchOptions options)
    {
        if (options.ElasticTraining && options.MasterAddress.Length == 0)
        {
            throw Refusal.Option("--elastic_training", "elastic training needs an address that all nodes know",
                "give --master_addr HOST");
        }

        if (options.NoSsh && options.ElasticTraining)
        {
            throw Refusal.Option("--elastic_training", "with --no_ssh no process sees all nodes, and none could start them again",
                "remove one of the two");
        }

        if (options is { ElasticTraining: true, Backend: not (null or Launch.Backend.Ssh) })
        {
            throw Refusal.Option("--elastic_training",
                $"it starts each host by an ssh of its own, and {Backends.NameOf(options.Backend.Value)} starts all of them together",
                "use --launcher ssh, or remove --launcher");
        }

        bool filtered = options.Include.Length > 0 || options.Exclude.Length > 0;
        if (filtered && (options.Nodes is not null || options.Gpus is not null))
        {
            throw Refusal.Option(options.Nodes is not null ? "--num_nodes" : "--num_gpus",
                "--num_nodes and --num_gpus cannot be combined with --include and --exclude",
                    "use one way to choose resources");
        }

        if (options.IsModule && options.NoPython)
        {
            throw Refusal.Option("--module", "--module and --no_python contradict each other", "keep one of them");
        }
    }

    private static List<HostSlots> Limit(IReadOnlyList<HostSlots> pool, LaunchOptions options)
    {
        if (options.Nodes > pool.Count)
        {
            throw Refusal.Option("--num_nodes", $"{options.Nodes} nodes are asked for, but the hostfile has only {pool.Count}",
                $"use at most {pool.Count}");
        }

        List<HostSlots> hosts = [.. pool.Take(options.Nodes ?? pool.Count)];
        if (options.Gpus is not > 0)
        {
            return hosts;
        }

        return hosts.FirstOrDefault(host => host.Slots.Count < options.Gpus) is { } small
            ? throw LocalSlots.TooFew(options.Gpus.Value, small.Host, small.Slots.Count)
            : [.. hosts.Select(host => host with { Slots = [.. host.Slots.Take(options.Gpus.Value)] })];
    }

    private static Backend Choose(LaunchOptions options, Surroundings around, List<string> notes)
    {
        Backend backend = options.Backend ?? (around.IsInstalled("pdsh") && !options.ElasticTraining ? Launch.Backend.Pdsh : Launch.Backend.Ssh);
        if (options is { Backend: null, ElasticTraining: false } && backend == Launch.Backend.Ssh)
        {
            notes.Add("pdsh is not installed; using ssh");
        }

        return Backends.StartsRanks(backend) && around.Hostfile is null
            ? throw Refusal.Option("--launcher", $"{Backends.NameOf(backend)} needs a hostfile, and there is none at {options.Hostfile}",
                "give --hostfile FILE, or use --launcher ssh")
            : backend;
    }

    private static string MasterOf(IReadOnlyList<HostSlots> hosts, LaunchOptions options, Surroundings around)
    {
        if (around.Hostfile is null)
        {
            return options.MasterAddress.Length > 0 ? options.MasterAddress : "127.0.0.1";
        }

        string first = hosts[0].Host;
        if (!options.NoSsh && !options.NoSshCheck && around.Ssh(first, "hostname") is { IsReachable: false } answer)
        {
            throw Refusal.Of(options.Hostfile, first, $"ssh without password does not work: {answer.Text}",
                "let \"ssh HOST hostname\" work, or remove the hostfile to use this machine alone");
        }

        if (options.MasterAddress.Length > 0)
        {
            return options.MasterAddress;
        }

        if (options.NoSsh || options.NoSshCheck)
        {
            return first[(first.IndexOf('@', StringComparison.Ordinal) + 1)..];
        }

        return AddressOf(first, options, around.Ssh);
    }

    /// <summary>Asks a host for its address.</summary>
    public static string AddressOf(string host, LaunchOptions options, Func<string, string, SshAnswer> ssh)
    {
        SshAnswer addresses = ssh(host, "hostname -I");
        string[] words = addresses.IsReachable ? addresses.Text.Split([' ', '\n'], StringSplitOptions.RemoveEmptyEntries) : [];
        return words.Length > 0 ? words[0] : throw Refusal.Of(options.Hostfile, host,
            $"\"hostname -I\" gives no address there: {addresses.Text}", "give --master_addr HOST");
    }

    private static int NodeRankOf(IReadOnlyList<HostSlots> hosts, LaunchOptions options)
    {
        if (options is { NodeRank: not null, NoSsh: false })
        {
            throw Refusal.Option("--node_rank", "it is only for --no_ssh, where each node runs this command",
                "remove it, or add --no_ssh");
        }

        if (options.NoSsh && (options.NodeRank is not { } rank || rank >= hosts.Count))
        {
            throw Refusal.Option("--node_rank", "--no_ssh needs to know which host this is",
                $"give --node_rank with a number from 0 to {hosts.Count - 1}");
        }

        return options.NodeRank ?? 0;
    }
}

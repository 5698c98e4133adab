using System.Globalization;
using DeepSpeedSharp.Config;

namespace DeepSpeedSharp.Launcher.Launch;

/// <summary>Starts the ranks of one node and follows them to their end; one failure ends all of them.</summary>
/// <param name="world">The world; its node rank says which host this is.</param>
/// <param name="options">The options.</param>
/// <param name="variables">Variables of the environment files.</param>
/// <param name="machine">This machine.</param>
/// <param name="console">Where to report.</param>
/// <param name="elastic">Whether and how often the ranks start again; null for never.</param>
internal sealed class NodeRun(World world, LaunchOptions options,
    IReadOnlyList<KeyValuePair<string, string>> variables, LocalMachine machine, RunConsole console, Elasticity? elastic = null)
{
    /// <summary>Time that ranks get to save when they are ended; DeepSpeed's number.</summary>
    public static readonly TimeSpan Grace = TimeSpan.FromSeconds(30);

    private readonly HostSlots _host = world.Hosts[world.NodeRank];

    /// <summary>Runs the node.</summary>
    /// <returns>0, the exit code of the first failure, or <see cref="ExitCodes.Stopped"/> after a signal.</returns>
    public async Task<int> RunAsync()
    {
        string? searchPath = machine.Environment.GetValueOrDefault("PATH");
        UserProgram user = UserProgram.Of(options);
        string program = user.Locate(options, searchPath, []);
        IReadOnlyList<CoreBinding>? bindings = Bindings();
        using IDisposable pidFile = PidFile.Write(options.SavePid);
        using var stop = new StopSignals();
        if (options.HasLifeline)
        {
            Lifeline.Watch(stop);
            Heartbeat.Watch(machine.Environment.GetValueOrDefault("SSH_CONNECTION"), stop, console);
        }

        using ChildGuard guard = ChildGuard.Start(Grace);
        for (int restarts = 0; ; restarts++)
        {
            IReadOnlyList<KeyValuePair<string, string>> attempt = elastic?.Variables(restarts) ?? [];
            List<NodeProcess> ranks = Start(rank => Prepare(rank, program, user, bindings, searchPath, attempt), guard);
            AttemptEnd end = await new Attempt(ranks, Grace, stop, console).RunAsync();
            if (end.Failed is not { } failed)
            {
                if (end.IsStopped)
                {
                    console.Say($"stopped by {stop.Name}");
                }

                return end.IsStopped ? ExitCodes.Stopped : ExitCodes.Done;
            }

            int exitCode = await failed.Exit;
            if (elastic is null || !await elastic.Restarts.MayAsync(exitCode, restarts, stop))
            {
                return exitCode;
            }
        }
    }

    private List<NodeProcess> Start(Func<RankPlan, (LaunchNode Node, string File)> prepare, ChildGuard guard)
    {
        DateTimeOffset now = TimeProvider.System.GetLocalNow();
        var ranks = new List<NodeProcess>();
        try
        {
            foreach (RankPlan rank in RankPlan.All(world, options).Where(r => r.Host == _host.Host))
            {
                string? log = options.RankLogFolder is { } folder
                    ? rank.LogFile(Directory.CreateDirectory(folder).FullName, now) : null;
                (LaunchNode node, string file) = prepare(rank);
                if (options.Verbosity == Verbosity.Debug)
                {
                    console.Say($"{node.FullName}: {string.Join(' ', node.CommandLine.Select(ShellText.Quote))}");
                }

                ranks.Add(NodeProcess.Start(node, file, log, console, guard));
            }

            return ranks;
        }
        catch (Exception e)
        {
            ranks.ForEach(rank => rank.Kill());
            if (e is IOException or UnauthorizedAccessException)
            {
                throw Refusal.Option("--enable_each_rank_log", e.Message, "give a folder that can be written");
            }

            throw;
        }
    }

    private (LaunchNode Node, string File) Prepare(RankPlan rank, string program, UserProgram user,
        IReadOnlyList<CoreBinding>? bindings, string? searchPath, IReadOnlyList<KeyValuePair<string, string>> attempt)
    {
        Dictionary<string, string> all = machine.Environment.ToDictionary();
        foreach ((string name, string value) in variables.Concat(Threads(bindings?[rank.LocalRank]))
            .Concat(attempt).Concat(rank.Environment))
        {
            all[name] = value;
        }

        IReadOnlyList<string> line = rank.CommandLine;
        if (bindings is not null)
        {
            // numactl and taskset look a program up in PATH only.
            string? numactl = InstalledProgram.Find("numactl", searchPath);
            string first = user.Interpreter.Count > 0 ? line[0] : program;
            line = [.. bindings[rank.LocalRank].Command(numactl is not null), first, .. line.Skip(1)];
            program = numactl ?? InstalledProgram.Find("taskset", searchPath)
                ?? throw Refusal.Option("--bind_cores_to_rank",
                $"neither numactl nor taskset is on {machine.Name}", "install numactl, or remove the option");
        }

        string full = string.Create(CultureInfo.InvariantCulture, $"rank {rank.Rank} on {rank.Host}");
        return (new LaunchNode(rank.Rank, $"rank {rank.Rank}", full, line, rank.Environment, all), program);
    }

    private IReadOnlyList<CoreBinding>? Bindings()
    {
        if (!options.BindCores && options.CoreList is null)
        {
            return null;
        }

        if (machine.Environment.ContainsKey("KMP_AFFINITY"))
        {
            throw Refusal.Option("--bind_cores_to_rank", "KMP_AFFINITY binds cores too, and the two contradict each other",
                "remove the variable or the option");
        }

        CoreTopology topology = CoreTopology.Read();
        try
        {
            return CoreBinding.Divide(options.CoreList is { } list ? topology.Choose(list) : topology.Cores,
                topology.NumaNodes, _host.Slots.Count);
        }
        catch (FormatException e)
        {
            throw Refusal.Option("--bind_core_list", e.Message, "correct it");
        }
    }

    // Ranks on processors would each take all of them, and their threads spin while they wait for each other.
    private IEnumerable<KeyValuePair<string, string>> Threads(CoreBinding? binding)
    {
        const string Count = "OMP_NUM_THREADS", Policy = "OMP_WAIT_POLICY";
        if (binding is not null)
        {
            yield return new(Count, $"{binding.Cores.Count}");
        }
        else if (world.CpuRanks && !IsSet(Count))
        {
            yield return new(Count, $"{Math.Max(1, machine.Cores / _host.Slots.Count)}");
        }

        if (world.CpuRanks && !IsSet(Policy))
        {
            yield return new(Policy, "PASSIVE");
        }

        bool IsSet(string name) => machine.Environment.ContainsKey(name) || variables.Any(v => v.Key == name);
    }
}

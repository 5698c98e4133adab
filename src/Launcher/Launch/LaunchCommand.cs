using DeepSpeedSharp.Config;

namespace DeepSpeedSharp.Launcher.Launch;

/// <summary><c>deepspeed [options] program [args]</c>: reads, resolves, then prints the plan or starts it.</summary>
internal static class LaunchCommand
{
    /// <summary>Runs the command.</summary>
    /// <param name="words">All words of the command line.</param>
    /// <param name="dryRun">Whether to print the plan, whatever the words say.</param>
    /// <returns>The exit code: 0, or that of the first failure.</returns>
    /// <exception cref="UsageException">The words are wrong.</exception>
    /// <exception cref="ConfigException">They ask for what is not there.</exception>
    public static async Task<int> RunAsync(IReadOnlyList<string> words, bool dryRun)
    {
        LaunchOptions options = LaunchOptionReader.Read(words);
        options = dryRun ? options with { DryRun = true } : options;
        Refuse(options);
        LocalMachine machine = LocalMachine.Current();
        if (options.Hostfile == Hostfile.DefaultPath && !File.Exists(Hostfile.DefaultPath))
        {
            // A misspelt program should not have to wait for the search for GPUs.
            _ = options.DryRun ? null : UserProgram.Of(options).Locate(options, machine.Environment.GetValueOrDefault("PATH"), CommandTable.Names);
        }

        // Beside a plan, which may be JSON, nothing else goes to the output.
        bool isQuiet = options.Verbosity == Verbosity.Quiet;
        RunConsole console = options.DryRun ? new RunConsole(Console.Error, Console.Error, colours: false, isQuiet) : RunConsole.OfProcess(isQuiet);
        Elasticity? elastic = Elasticity.From(options, console);
        World world = World.Resolve(options, Surrounding(options, machine));
        elastic?.Check(world.Hosts);
        IReadOnlyList<KeyValuePair<string, string>> variables = EnvironmentFiles(machine, console);
        Announce(options, world, variables, console);
        if (world.Backend is not null)
        {
            variables = Exports.ForOtherHosts(machine.Environment, System.Environment.CurrentDirectory, variables);
        }

        if (options.DryRun)
        {
            world = elastic is null ? world : world with { Hosts = elastic.Choose(world.Hosts) ?? world.Hosts };
            Print(new PlanDocument(world, variables, RankPlan.All(world, PlanOptions(world, options)),
                FrontEnd.Commands(world, options, variables)), options.Json);
            return ExitCodes.Done;
        }

        return world.Backend is null ? await new NodeRun(world, options, variables, machine, console, elastic).RunAsync()
            : elastic is not null ? await new ElasticFrontEnd(world, options, elastic, variables, machine, console).RunAsync()
            : await new FrontEnd(world, options, variables, machine, console).RunAsync();
    }

    /// <summary>The launcher of one node, started by <see cref="FrontEnd"/> of another machine.</summary>
    /// <param name="words">The words of <see cref="NodeCommand.Words"/> after the mode.</param>
    public static async Task<int> RunNodeAsync(IReadOnlyList<string> words)
    {
        LaunchOptions options = LaunchOptionReader.Read(words);
        IReadOnlyList<HostSlots> hosts = WorldInfo.Decode(options.WorldInfo ?? "");
        int node = options.NodeRank ?? 0;
        if (node >= hosts.Count)
        {
            throw Refusal.Option("--node_rank", $"there are only {hosts.Count} hosts", "let the deepspeed command choose it");
        }

        var world = new World(hosts, options.MasterAddress, options.MasterPort, null, node, options.CpuRanks, []);
        return await new NodeRun(world, options, [], LocalMachine.Current(),
            RunConsole.OfProcess(options.Verbosity == Verbosity.Quiet)).RunAsync();
    }

    private static LaunchOptions PlanOptions(World world, LaunchOptions options) =>
        world.Backend is { } backend && Backends.StartsRanks(backend) ? options with { NoLocalRank = true } : options;

    private static void Refuse(LaunchOptions options)
    {
        if (options.Autotuning.Length > 0)
        {
            throw Refusal.Option("--autotuning", "this release does not search for configs", "remove it");
        }

        if (options is { Json: true, DryRun: false })
        {
            throw Refusal.Option("--json", "it is the format of a plan", "add --dry_run, or remove it");
        }

        if (options.WorldInfo is not null || options.HasLifeline || options.CpuRanks)
        {
            throw Refusal.Option("--world_info", "only this program's own launchers of nodes have such options", "remove it");
        }
    }

    private static void Announce(LaunchOptions options, World world, IReadOnlyList<KeyValuePair<string, string>> variables, RunConsole console)
    {
        if (options.Hostfile != Hostfile.DefaultPath && !File.Exists(options.Hostfile))
        {
            console.Say($"there is no hostfile {options.Hostfile}; using this machine alone");
        }

        foreach (string note in world.Notes)
        {
            console.Say(note);
        }

        string[] own = [.. variables.Select(v => v.Key).Intersect(RankPlan.All(world, options)[0].Environment.Select(v => v.Key))];
        if (own.Length > 0)
        {
            console.Say($"{string.Join(", ", own)} of the environment files {(own.Length == 1 ? "has" : "have")} no effect: "
                + "each rank gets its own from this command");
        }
    }

    private static Surroundings Surrounding(LaunchOptions options, LocalMachine machine)
    {
        if (Directory.Exists(options.Hostfile))
        {
            throw Refusal.Option("--hostfile", $"{options.Hostfile} is a folder", "give the file with a line HOST slots=N for each host");
        }

        string? searchPath = machine.Environment.GetValueOrDefault("PATH");
        return new Surroundings(File.Exists(options.Hostfile) ? InputFile.Read(options.Hostfile) : null, machine.Environment,
            () => Nvml.DeviceCount(), (host, command) => SshProbe.Ask(host, command, options),
            program => InstalledProgram.Find(program, searchPath) is not null);
    }

    private static List<KeyValuePair<string, string>> EnvironmentFiles(LocalMachine machine, RunConsole console)
    {
        var variables = new Dictionary<string, string>();
        string[] files = [.. EnvironmentFile.Paths(machine.Environment, System.Environment.CurrentDirectory).Where(File.Exists)];
        if (files.Length == 0 && machine.Environment.GetValueOrDefault(EnvironmentFile.NameVariable) is { Length: > 0 } named)
        {
            console.Say($"{EnvironmentFile.NameVariable}={named} names no file, neither in the home folder nor in this one; no variables are added");
        }

        foreach (string path in files)
        {
            foreach ((string name, string value) in EnvironmentFile.Parse(InputFile.Read(path), path))
            {
                variables[name] = value;
            }
        }

        return [.. variables];
    }

    private static void Print(PlanDocument plan, bool json)
    {
        if (json)
        {
            Console.Out.WriteLine(plan.ToJson());
        }
        else
        {
            plan.Write(Console.Out);
        }
    }
}

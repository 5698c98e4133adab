using DeepSpeedSharp.Config;

namespace DeepSpeedSharp.Launcher.Launch;

/// <summary>Starts the launchers of other hosts and follows them; one that fails ends all of them.</summary>
/// <param name="world">The world.</param>
/// <param name="options">The options.</param>
/// <param name="exports">Variables for every rank.</param>
/// <param name="machine">This machine.</param>
/// <param name="console">Where to report.</param>
internal sealed class FrontEnd(World world, LaunchOptions options,
    IReadOnlyList<KeyValuePair<string, string>> exports, LocalMachine machine, RunConsole console)
{
    // More than the ranks' own time, so that the launchers of the nodes can report their ends.
    public static readonly TimeSpan Grace = NodeRun.Grace + TimeSpan.FromSeconds(10);

    /// <summary>What this machine starts for a world; empty when it starts the ranks itself.</summary>
    public static IReadOnlyList<IReadOnlyList<string>> Commands(
        World world, LaunchOptions options, IReadOnlyList<KeyValuePair<string, string>> exports) => world.Backend switch
        {
            null => [],
            Backend.Ssh => [.. Enumerable.Range(0, world.Hosts.Count)
                .Select(node => RemoteCommands.Ssh(world, node, options, exports, NodeCommand.Here))],
            Backend.Pdsh => [RemoteCommands.Pdsh(world, options, exports, NodeCommand.Here)],
            { } mpi => [MpiCommands.Build(mpi, world, options, exports, NodeCommand.Here.Self, HostListPath)],
        };

    private static string HostListPath => Path.Combine(Path.GetTempPath(), $"{Environment.ProcessId}.hosts");

    /// <summary>Runs the job.</summary>
    /// <returns>0, the exit code of the first failure, or <see cref="ExitCodes.Stopped"/> after a signal.</returns>
    public async Task<int> RunAsync()
    {
        Backend backend = world.Backend!.Value;
        string name = Backends.ProgramOf(backend);
        string program = InstalledProgram.Find(name, machine.Environment.GetValueOrDefault("PATH"))
            ?? throw Refusal.Option("--launcher", $"{name} is not installed on this machine",
                "install it, or use another --launcher");
        IReadOnlyList<IReadOnlyList<string>> commands = Commands(world, options, exports);
        Dictionary<string, string> environment = machine.Environment.ToDictionary();
        foreach ((string key, string value) in backend == Backend.Pdsh
            ? RemoteCommands.PdshEnvironment(options, environment.GetValueOrDefault(RemoteCommands.PdshSshArguments))
            : backend == Backend.Ssh ? [] : exports)
        {
            environment[key] = value;
        }

        string ranks = world.Size == 1 ? "1 rank" : $"{world.Size} ranks";
        string count = world.Hosts.Count == 1 ? "1 host" : $"{world.Hosts.Count} hosts";
        console.Say($"{ranks} on {count}, started with {Backends.NameOf(backend)}");
        if (backend == Backend.Mvapich)
        {
            await File.WriteAllTextAsync(HostListPath, MpiCommands.HostList(world));
        }

        if (options.Verbosity == Verbosity.Debug)
        {
            foreach (IReadOnlyList<string> command in commands)
            {
                console.Say(string.Join(' ', command.Select(ShellText.Quote)));
            }
        }

        using var stop = new StopSignals();
        using ChildGuard guard = ChildGuard.Start(Grace);
        try
        {
            if (backend == Backend.Pdsh)
            {
                var hosts = new PdshHosts();
                NodeProcess pdsh = NodeProcess.Start(
                    Node(backend, commands[0], environment), program, null, console, guard, onLine: hosts.Read);
                return await new PdshRun(pdsh, hosts, (host, command) => SshProbe.Ask(host, command, options), stop, console).RunAsync();
            }

            List<NodeProcess> nodes = backend == Backend.Ssh
                ? SshNodes.Start(commands, world, program, environment, console, guard)
                : [NodeProcess.Start(Node(backend, commands[0], environment), program, null, console, guard)];
            AttemptEnd end = await new Attempt(nodes, Grace, stop, console).RunAsync();
            return end.Failed is { } failed ? await failed.Exit : end.IsStopped ? ExitCodes.Stopped : ExitCodes.Done;
        }
        finally
        {
            File.Delete(HostListPath);
        }
    }

    private static LaunchNode Node(Backend backend, IReadOnlyList<string> command, Dictionary<string, string> environment) =>
        new(0, Backends.NameOf(backend), Backends.NameOf(backend), command, [], environment);
}

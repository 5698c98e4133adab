namespace DeepSpeedSharp.Launcher.Launch;

/// <summary>The command lines of MPI implementations and Slurm, which start the ranks themselves.</summary>
/// <remarks>Each rank begins as <see cref="MpiRank"/>, which turns what MPI says about it into RANK, LOCAL_RANK and the
/// rest; so a program needs nothing from MPI.</remarks>
internal static class MpiCommands
{
    /// <summary>Builds the command line.</summary>
    /// <param name="backend">Which of them.</param>
    /// <param name="world">The world.</param>
    /// <param name="options">The options.</param>
    /// <param name="exports">Variables for every rank.</param>
    /// <param name="self">This program's own command line.</param>
    /// <param name="hostList">A file with one host a line, for MVAPICH.</param>
    public static IReadOnlyList<string> Build(Backend backend, World world, LaunchOptions options,
        IReadOnlyList<KeyValuePair<string, string>> exports, IReadOnlyList<string> self, string hostList)
    {
        Check(backend, world, options);
        List<KeyValuePair<string, string>> variables =
        [
            .. exports, new("MASTER_ADDR", world.MasterAddress), new("MASTER_PORT", $"{world.MasterPort}"),
            .. world.CpuRanks ? [new(LocalSlots.VisibleDevices, "")] : (KeyValuePair<string, string>[])[],
        ];
        IReadOnlyList<string> extra = RemoteCommands.Words(options.BackendArguments);
        string hosts = string.Join(',', world.Hosts.Select(host => host.Host));
        string total = $"{world.Size}", perHost = $"{world.Hosts[0].Slots.Count}";
        IEnumerable<string> start = backend switch
        {
            Backend.OpenMpi => ["mpirun", "-n", total, "-hostfile", options.Hostfile, "--mca", "btl", "^openib",
                .. extra.Contains("btl_tcp_if_include") ? [] : (string[])["--mca", "btl_tcp_if_include", "eth0"], .. extra,
                .. variables.Prepend(new("UCX_TLS", "tcp")).DistinctBy(v => v.Key)
                    .SelectMany(v => (string[])["-x", $"{v.Key}={v.Value}"])],
            Backend.Mpich or Backend.Impi => ["mpirun", "-n", total, "-ppn", perHost, "-hosts", hosts, .. extra, .. Genv(variables)],
            Backend.Mvapich => ["mpirun", "-np", total, "-ppn", perHost, "--hostfile", hostList, .. extra,
                .. Genv([.. MvapichSettings(world), .. variables])],
            _ => ["srun", "-n", total, $"--nodes={world.Hosts.Count}", $"--ntasks-per-node={perHost}", $"--nodelist={hosts}",
                "--kill-on-bad-exit=1", .. extra,
                $"--export={string.Join(',', variables.Where(IsPlain).Select(v => $"{v.Key}={v.Value}").Prepend("ALL"))}"],
        };

        // MPI's own programs never took --local_rank.
        UserProgram program = UserProgram.Of(options with { NoLocalRank = true });
        return [.. start, .. self, MpiRank.Mode, .. program.CommandLine(options, localRank: 0)];
    }

    /// <summary>Text of the file that MVAPICH reads.</summary>
    public static string HostList(World world) => string.Concat(world.Hosts.Select(host => $"{host.Host}\n"));

    private static void Check(Backend backend, World world, LaunchOptions options)
    {
        string name = Backends.NameOf(backend);
        bool isLimited = options.Include.Length > 0 || options.Exclude.Length > 0
            || options.Nodes is not null || options.Gpus is > 0;
        if (isLimited && backend != Backend.Slurm)
        {
            throw Refusal.Option("--launcher", $"{name} takes hosts and slots from the hostfile alone",
                "write a hostfile with just those, and leave --include, --exclude, --num_nodes and --num_gpus out");
        }

        if (world.Hosts.Any(host => host.Slots.Where((slot, i) => slot != $"{i}").Any()))
        {
            throw Refusal.Option("--launcher", $"{name} cannot choose single slots of a host",
                "use whole hosts, or --num_gpus");
        }

        if (backend != Backend.OpenMpi && world.Hosts.Any(host => host.Slots.Count != world.Hosts[0].Slots.Count))
        {
            throw Refusal.Option("--launcher", $"{name} needs the same number of slots on every host",
                $"write the same slots= on every line of {options.Hostfile}, or use --launcher openmpi");
        }

        (string Option, bool IsGiven)[] ours =
        [
            ("--ssh_port", options.SshPort is not null), ("--venv_script", options.VenvScript is not null),
            ("--bind_cores_to_rank", options.BindCores), ("--bind_core_list", options.CoreList is not null),
            ("--enable_each_rank_log", options.RankLogFolder is not null), ("--save_pid", options.SavePid),
        ];
        if (ours.FirstOrDefault(o => o.IsGiven).Option is { } option)
        {
            throw Refusal.Option(option, $"it works with pdsh and ssh, not with {name}",
                $"use the options of {Backends.ProgramOf(backend)} itself, through --launcher_args");
        }
    }

    private static IEnumerable<string> Genv(IEnumerable<KeyValuePair<string, string>> variables) =>
        variables.SelectMany(v => (string[])["-genv", v.Key, v.Value]);

    // Without its own core binding, which puts all ranks of several jobs on the same cores.
    private static IEnumerable<KeyValuePair<string, string>> MvapichSettings(World world) =>
    [
        new("MV2_SUPPORT_DL", "1"), new("MV2_ENABLE_AFFINITY", "0"), new("MV2_USE_CUDA", world.CpuRanks ? "0" : "1"),
        new("MV2_DEBUG_SHOW_BACKTRACE", "1"),
    ];

    // srun divides the list at commas; ALL brings the others from its own environment.
    private static bool IsPlain(KeyValuePair<string, string> variable) =>
        !variable.Value.Contains(',', StringComparison.Ordinal) && !variable.Value.Contains('\n', StringComparison.Ordinal);
}

using DeepSpeedSharp.Config;

namespace DeepSpeedSharp.Launcher.Launch;

/// <summary>How this program is started as the launcher of one node, here or on another host.</summary>
/// <param name="Self">This program's own command line, without arguments. Other hosts have it at the same path.</param>
/// <param name="Folder">The working folder, the same on every host.</param>
internal sealed record NodeCommand(IReadOnlyList<string> Self, string Folder)
{
    /// <summary>First argument that selects this internal mode.</summary>
    public const string Mode = "launch-node";

    /// <summary>This process's own program and folder.</summary>
    public static NodeCommand Here => new(ThisProgram.CommandLine, Environment.CurrentDirectory);

    /// <summary>The options that a node's launcher gets as they are.</summary>
    public static IReadOnlyList<string> Flags(LaunchOptions options) =>
    [
        .. When(options.IsModule, "--module"),
        .. When(options.NoPython, "--no_python"),
        .. When(options.NoLocalRank, "--no_local_rank"),
        .. When(options.SavePid, "--save_pid"),
        .. When(options.BindCores, "--bind_cores_to_rank"),
        .. When(options.CoreList is not null, $"--bind_core_list={options.CoreList}"),
        .. When(options.RankLogFolder is not null, $"--enable_each_rank_log={options.RankLogFolder}"),
        .. When(options.Verbosity == Verbosity.Quiet, "--quiet"),
        .. When(options.Verbosity == Verbosity.Debug, "--log_level=debug"),
    ];

    /// <summary>The words that start the launcher of one node.</summary>
    /// <param name="world">The world.</param>
    /// <param name="options">The options.</param>
    /// <param name="nodeRank">Number of the node, or what pdsh replaces by it.</param>
    public IReadOnlyList<string> Words(World world, LaunchOptions options, string nodeRank) =>
    [
        .. Self, Mode, $"--world_info={WorldInfo.Encode(world.Hosts)}", $"--node_rank={nodeRank}",
        $"--master_addr={world.MasterAddress}", $"--master_port={world.MasterPort}",
        "--lifeline", .. When(world.CpuRanks, "--cpu_ranks"), .. Flags(options), options.Program, .. options.ProgramArguments,
    ];

    /// <summary>The same with variables and working folder, for the shell of another host.</summary>
    /// <param name="world">The world.</param>
    /// <param name="options">The options.</param>
    /// <param name="exports">Variables for every rank.</param>
    /// <param name="nodeRank">Number of the node, or what pdsh replaces by it.</param>
    public string ShellText(World world, LaunchOptions options,
        IReadOnlyList<KeyValuePair<string, string>> exports, string nodeRank)
    {
        IEnumerable<string> steps =
        [
            .. exports.Select(e => $"export {e.Key}={Launch.ShellText.Value(e.Value)}"),
            $"cd {Launch.ShellText.Quote(Folder)} || exit {ExitCodes.Configuration}",
            .. When(options.VenvScript is not null,
                $". {Launch.ShellText.Quote(options.VenvScript ?? "")} || exit {ExitCodes.Configuration}"),
            string.Join(' ', Words(world, options, nodeRank).Select(Launch.ShellText.Quote)),

            // So that the shell stays, and turns a death by signal into an exit code; ssh alone would say 255 for each.
            "exit $?",
        ];
        return string.Join("; ", steps);
    }

    private static string[] When(bool condition, string word) => condition ? [word] : [];
}

using System.Globalization;

namespace DeepSpeedSharp.Launcher.Launch;

/// <summary>One option of the command: its names, its help, and what it does to the options read so far.</summary>
/// <param name="Names">Its names, the long one first; DeepSpeed's own spelling.</param>
/// <param name="ValueName">What help calls its value; null for a switch.</param>
/// <param name="Group">Heading in the help; empty for options that only this program itself uses.</param>
/// <param name="Help">What it is for.</param>
/// <param name="Apply">Takes the value in; throws <see cref="FormatException"/> with the reason when it is wrong.</param>
internal sealed record LaunchOption(
    string[] Names, string? ValueName, string Group, string Help, Func<LaunchOptions, string, LaunchOptions> Apply)
{
    private const string Resources = "Resources", Elastic = "Elastic training", Network = "Network", Processes = "Processes", Output = "Output";

    /// <summary>All options, in the order of the help.</summary>
    public static IReadOnlyList<LaunchOption> All { get; } =
    [
        new(["--hostfile", "-H"], "FILE", Resources, $"Hosts and slots, lines of HOST slots=N (default {Hostfile.DefaultPath}).",
            (o, v) => o with { Hostfile = v }),
        new(["--include", "-i"], "FILTER", Resources, "Use only these: HOST[:SLOT,SLOT][@HOST...].",
            (o, v) => o with { Include = v }),
        new(["--exclude", "-e"], "FILTER", Resources, "Use all but these.", (o, v) => o with { Exclude = v }),
        new(["--num_nodes"], "N", Resources, "Use the first N hosts of the hostfile.",
            (o, v) => o with { Nodes = Count(v, 1) }),
        new(["--num_gpus", "--num_accelerators"], "N", Resources,
            "Use N slots of each host. On a machine without GPU: N ranks on its processors. 0: no GPU for any rank.",
            (o, v) => o with { Gpus = Count(v, 0) }),
        new(["--elastic_training"], null, Elastic, "Start again after a failure, on the hosts that still answer. Needs --master_addr.",
            (o, _) => o with { ElasticTraining = true }),
        new(["--min_elastic_nodes"], "N", Elastic, "Fewest hosts to go on with (default 1).",
            (o, v) => o with { MinElasticNodes = Count(v, 1) }),
        new(["--max_elastic_nodes"], "N", Elastic, "Most hosts to use (default: all of the hostfile).",
            (o, v) => o with { MaxElasticNodes = Count(v, 1) }),
        new(["--max_elastic_restarts"], "N", Elastic, "How many failures to survive (default 100).",
            (o, v) => o with { MaxElasticRestarts = Count(v, 0) }),
        new(["--master_addr"], "HOST", Network, "Address of rank 0 (default: that of the first host).",
            (o, v) => o with { MasterAddress = v }),
        new(["--master_port"], "PORT", Network, "Port of rank 0 (default 29500).",
            (o, v) => o with { MasterPort = Port(v) }),
        new(["--launcher"], "NAME", Network, $"{Backends.Names}. Default: pdsh where it is installed, else ssh.",
            (o, v) => o with { Backend = Backends.Parse(v) }),
        new(["--launcher_args"], "TEXT", Network, "More arguments for that program.",
            (o, v) => o with { BackendArguments = v }),
        new(["--ssh_port"], "PORT", Network, "Port of ssh on the hosts.", (o, v) => o with { SshPort = Port(v) }),
        new(["--no_ssh_check"], null, Network, "Do not try the first host before the start.",
            (o, _) => o with { NoSshCheck = true }),
        new(["--no_ssh"], null, Network, "Every node runs this command itself, with its --node_rank.",
            (o, _) => o with { NoSsh = true }),
        new(["--node_rank"], "N", Network, "Which host of the hostfile this is, from 0; with --no_ssh.",
            (o, v) => o with { NodeRank = Count(v, 0) }),
        new(["--force_multi"], null, Network, "Start a single node like many.", (o, _) => o with { ForceMulti = true }),
        new(["--venv_script"], "FILE", Network, "Shell script that each node reads first.",
            (o, v) => o with { VenvScript = v }),
        new(["--module"], null, Processes, "The program is the name of a Python module.",
            (o, _) => o with { IsModule = true }),
        new(["--no_python"], null, Processes, "Start the program as it is, whatever its name.",
            (o, _) => o with { NoPython = true }),
        new(["--no_local_rank"], null, Processes, "Do not give Python scripts --local_rank=N.",
            (o, _) => o with { NoLocalRank = true }),
        new(["--bind_cores_to_rank"], null, Processes, "Give each rank processor cores of its own.",
            (o, _) => o with { BindCores = true }),
        new(["--bind_core_list"], "LIST", Processes, "Cores to divide among the ranks, for example 0-7,16-23.",
            (o, v) => o with { CoreList = v }),
        new(["--save_pid"], null, Processes, "Write the process id to TMP/PID.deepspeed while the node runs.",
            (o, _) => o with { SavePid = true }),
        new(["--autotuning"], "tune|run", Processes, "Search for a faster config (not in this release).",
            (o, v) => o with { Autotuning = v }),
        new(["--dry_run"], null, Output, "Print what would be started, and start nothing.",
            (o, _) => o with { DryRun = true }),
        new(["--json"], null, Output, "With --dry_run: print the plan as JSON.", (o, _) => o with { Json = true }),
        new(["--enable_each_rank_log"], "FOLDER", Output, "Also write what each rank prints to a file of its own.",
            (o, v) => o with { RankLogFolder = v == "None" ? null : v }),
        new(["--log_level"], "LEVEL", Output, "debug, info, warning, error or critical (default info).",
            (o, v) => o with { Verbosity = Level(v) }),
        new(["--quiet", "-q"], null, Output, "Say nothing but failures.",
            (o, _) => o with { Verbosity = Verbosity.Quiet }),
        new(["--world_info"], "TEXT", "", "", (o, v) => o with { WorldInfo = v }),
        new(["--lifeline"], null, "", "", (o, _) => o with { HasLifeline = true }),
        new(["--cpu_ranks"], null, "", "", (o, _) => o with { CpuRanks = true }),
    ];

    // DeepSpeed's default is -1 and means "not given".
    private static int? Count(string text, int minimum)
    {
        if (text == "-1")
        {
            return null;
        }

        if (int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out int value) && value >= minimum)
        {
            return value;
        }

        throw new FormatException(text.Contains(':') ? "it is one whole number; a range of nodes is --min_elastic_nodes "
            + "and --max_elastic_nodes" : $"use a whole number of at least {minimum}");
    }

    private static int Port(string text) =>
        int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out int port) && port is >= 1 and <= 65535
            ? port : throw new FormatException("use a port from 1 to 65535");

    private static Verbosity Level(string text) => text.ToLowerInvariant() switch
    {
        "debug" => Verbosity.Debug,
        "info" => Verbosity.Info,
        "warning" or "error" or "critical" => Verbosity.Quiet,
        _ => throw new FormatException("use debug, info, warning, error or critical"),
    };
}

using System.CommandLine;
using DeepSpeedSharp.Launcher.Cluster;
using DeepSpeedSharp.Launcher.Launch;

namespace DeepSpeedSharp.Launcher;

/// <summary>A command of this program beside training itself.</summary>
/// <param name="Name">First word of the command line.</param>
/// <param name="Description">What it is for, in a line.</param>
/// <param name="Create">Makes its parser, a <see cref="Command"/>; only when the command is used. The type is not named
/// here, so that help does not load the parser's library.</param>
internal sealed record CommandEntry(string Name, string Description, Func<object> Create)
{
    /// <summary>Its parser, with the description of the table.</summary>
    public Command ToCommand()
    {
        var command = (Command)Create();
        command.Description = Description;
        return command;
    }
}

/// <summary>All commands, in the order of the help; one line each.</summary>
internal static class CommandTable
{
    /// <summary>Name of the command that prints a plan; its words are those of a start.</summary>
    public const string Plan = "plan";

    public static IReadOnlyList<CommandEntry> All { get; } =
    [
        new("run", "Run a DeepSpeedJob on this machine: one process stands in for each pod.", () => RunCommand.Create()),
        new("submit", "Give a DeepSpeedJob to a Kubernetes cluster and follow it to its end.", () => SubmitCommand.Create()),
        new("jobs", "List the jobs of a cluster.", () => JobsCommand.Create()),
        new("logs", "Show what the nodes of a job print.", () => LogsCommand.Create()),
        new("describe", "Show all that is known of a job.", () => DescribeCommand.Create()),
        new("stop", "Let a job's pods save and end; submit lets it go on.", () => StopCommand.Create()),
        new("config", "Check a DeepSpeed JSON config, show its learning rates.", () => new Command("config") { ConfigCheckCommand.Create(), ConfigScheduleCommand.Create() }),
        new("elastic", "Show the batch size that elasticity chooses, and the numbers of GPUs it fits.", () => ElasticCommand.Create()),
        new("checkpoint", "List, verify and consolidate checkpoints.", () => CheckpointCommand.Create()),
        new("bench", "Measure collectives between ranks.", () => BenchCommand.Create()),
        new("report", "Show what this machine has for training.", () => ReportCommand.Create()),
        new("completion", "Print what bash, zsh or fish reads to complete this program's words.", () => CompletionCommand.Create()),
        new("ssh", "Run a command on every host of a hostfile.", () => SshCommand.Create()),
    ];

    /// <summary>The command of a name; null when there is none.</summary>
    public static CommandEntry? Find(string name) => All.FirstOrDefault(command => command.Name == name);

    /// <summary>Names of all commands.</summary>
    public static IEnumerable<string> Names => All.Select(command => command.Name).Append(Plan);
}

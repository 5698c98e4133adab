using System.CommandLine;
using System.CommandLine.Invocation;
using DeepSpeedSharp.Config;
using DeepSpeedSharp.Launcher;
using DeepSpeedSharp.Launcher.Launch;

// Internal modes of this program; their arguments are a worker's, so the command-line parser must not see them.
switch (args)
{
    case [ChildExec.Mode, .. string[] child]:
        return ChildExec.Run(child);
    case [ChildGuard.Mode, .. string[] guard]:
        return await ChildGuard.RunAsync(guard);
}

var root = new RootCommand("DeepSpeedSharp: distributed training for .NET")
{
    RunCommand.Create(),
    new Command("config", "Work with DeepSpeed JSON configs.") { ConfigCheckCommand.Create(), ConfigScheduleCommand.Create() },
    ElasticCommand.Create(),
    CheckpointCommand.Create(),
    ReportCommand.Create(),
    BenchCommand.Create(),
    SshCommand.Create(),
};
const string Plan = "plan";
string[] commands = [.. root.Subcommands.Select(command => command.Name), Plan];
try
{
    switch (args)
    {
        case [NodeCommand.Mode, .. string[] node]:
            return await LaunchCommand.RunNodeAsync(node);
        case [MpiRank.Mode, .. string[] { Length: > 0 } rank]:
            return MpiRank.Run(rank);
        case ["--help" or "-h" or "-?"] or [Plan, "--help" or "-h" or "-?"]:
            LaunchHelp.Write(Console.Out, [(Plan, "Print what a start would do: the same as --dry_run. Add --json for programs."),
                .. root.Subcommands.Select(command => (command.Name, command.Description))]);
            return ExitCodes.Done;
        case [Plan, .. string[] words]:
            return await LaunchCommand.RunAsync(words, dryRun: true, commands);
        case [not "--version", ..] when !commands.Contains(args[0]):
            return await LaunchCommand.RunAsync(args, dryRun: false, commands);
    }

    ParseResult parsed = root.Parse(args, new ParserConfiguration { ResponseFileTokenReplacer = null });
    if (parsed.Action is ParseErrorAction)
    {
        return UsageError.Report(parsed, Console.Error);
    }

    // No termination timeout: the run command handles Ctrl-C and SIGTERM itself, so that workers can save first.
    return await parsed.InvokeAsync(
        new InvocationConfiguration { EnableDefaultExceptionHandler = false, ProcessTerminationTimeout = null });
}
catch (UsageException e)
{
    return UsageError.Report(e.Problems, Console.Error);
}
catch (ConfigException e)
{
    await Console.Error.WriteLineAsync(e.Message);
    return ExitCodes.Configuration;
}
catch (Exception e)
{
    await Console.Error.WriteLineAsync($"deepspeed: a defect of this program; please report it:{Environment.NewLine}{e}");
    return ExitCodes.Internal;
}

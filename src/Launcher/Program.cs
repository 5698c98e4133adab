using System.CommandLine;
using System.CommandLine.Invocation;
using DeepSpeedSharp.Config;
using DeepSpeedSharp.Launcher;

// Two internal modes of this program; their arguments are a worker's, so the command-line parser must not see them.
switch (args)
{
    case [ChildExec.Mode, .. string[] child]:
        return ChildExec.Run(child);
    case [ChildGuard.Mode, .. string[] guard]:
        return await ChildGuard.RunAsync(guard);
}

var root = new RootCommand("DeepSpeedSharp: distributed training for .NET")
{
    new Command("config", "Work with DeepSpeed JSON configs.") { ConfigCheckCommand.Create(), ConfigScheduleCommand.Create() },
    RunCommand.Create(),
};
ParseResult parsed = root.Parse(args, new ParserConfiguration { ResponseFileTokenReplacer = null });
if (parsed.Action is ParseErrorAction)
{
    return UsageError.Report(parsed, Console.Error);
}

try
{
    // No termination timeout: the run command handles Ctrl-C and SIGTERM itself, so that workers can save first.
    return await parsed.InvokeAsync(
        new InvocationConfiguration { EnableDefaultExceptionHandler = false, ProcessTerminationTimeout = null });
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

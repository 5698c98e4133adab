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

try
{
    switch (args)
    {
        case [NodeCommand.Mode, .. string[] node]:
            return await LaunchCommand.RunNodeAsync(node);
        case [CompletionCommand.Mode, .. string[] words]:
            return CompletionCommand.Answer(words);
        case [MpiRank.Mode, .. string[] { Length: > 0 } rank]:
            return MpiRank.Run(rank);
        case ["help", _, ..] when CommandTable.Find(args[1]) is { } explained:
            return await ParsedCommand.RunAsync(explained, [.. args[1..], "--help"]);
        case ["help", ..]:
        case [_, ..] when LaunchOptionReader.AsksForHelp(args[0] == CommandTable.Plan ? args[1..] : args):
            LaunchHelp.Write(Console.Out);
            return ExitCodes.Done;
        case []:
            throw new UsageException(["there is neither a program to start nor a command"]);
        case [CommandTable.Plan, .. string[] plan]:
            return await LaunchCommand.RunAsync(plan, dryRun: true);
        case ["--version"]:
            return await ParsedCommand.RunAsync(null, args);
    }

    return CommandTable.Find(args[0]) is { } command ? await ParsedCommand.RunAsync(command, args)
        : await LaunchCommand.RunAsync(args, dryRun: false);
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

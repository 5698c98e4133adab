using System.CommandLine;
using System.CommandLine.Parsing;
using DeepSpeedSharp.Config;
using DeepSpeedSharp.Operator.Commands;

RootCommand root = RunCommand.Create();
root.Subcommands.Add(GenerateCommand.Create());
root.Subcommands.Add(CheckCommand.Create());

// All that is wrong, and not the whole help below it.
ParseResult parsed = root.Parse(args);
if (parsed.Errors.Count > 0)
{
    foreach (ParseError error in parsed.Errors)
    {
        await Console.Error.WriteLineAsync($"deepspeed-operator: {error.Message}");
    }

    await Console.Error.WriteLineAsync("deepspeed-operator: see `deepspeed-operator --help`");
    return ExitCodes.Usage;
}

// The host ends on SIGTERM by itself, also as process 1 of a container; the parser's own handler would cut it short.
return await parsed.InvokeAsync(new InvocationConfiguration { ProcessTerminationTimeout = null });

using System.CommandLine;
using System.CommandLine.Invocation;
using DeepSpeedSharp.Launcher;
using DeepSpeedSharp.Operator.Commands;

RootCommand root = RunCommand.Create();
root.Subcommands.Add(GenerateCommand.Create());
root.Subcommands.Add(CheckCommand.Create());

ParseResult parsed = root.Parse(args);
if (parsed.Action is ParseErrorAction)
{
    return UsageError.Report(parsed, Console.Error, "deepspeed-operator");
}

// The host ends on SIGTERM by itself, also as process 1 of a container; the parser's own handler would cut it short.
return await parsed.InvokeAsync(new InvocationConfiguration { ProcessTerminationTimeout = null });

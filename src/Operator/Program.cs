using System.CommandLine;
using DeepSpeedSharp.Operator.Commands;

RootCommand root = RunCommand.Create();
root.Subcommands.Add(GenerateCommand.Create());
root.Subcommands.Add(CheckCommand.Create());

// The host ends on SIGTERM by itself, also as process 1 of a container; the parser's own handler would cut it short.
return await root.Parse(args).InvokeAsync(new InvocationConfiguration { ProcessTerminationTimeout = null });

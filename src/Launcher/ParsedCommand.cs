using System.CommandLine;
using System.CommandLine.Invocation;

namespace DeepSpeedSharp.Launcher;

/// <summary>Runs a command that System.CommandLine reads; apart from the start, so that help does not load that library.</summary>
internal static class ParsedCommand
{
    /// <summary>Reads the words and runs the command.</summary>
    /// <param name="command">The command that the words name; null for words of the program itself.</param>
    /// <param name="words">All words of the command line.</param>
    /// <returns>The exit code.</returns>
    public static async Task<int> RunAsync(CommandEntry? command, string[] words)
    {
        var root = new RootCommand("DeepSpeedSharp: distributed training for .NET");
        if (command is not null)
        {
            root.Add(command.ToCommand());
        }

        ParseResult parsed = root.Parse(words, new ParserConfiguration { ResponseFileTokenReplacer = null });
        if (parsed.Action is ParseErrorAction)
        {
            return UsageError.Report(parsed, Console.Error);
        }

        // No termination timeout: the run command handles Ctrl-C and SIGTERM itself, so that workers can save first.
        return await parsed.InvokeAsync(
            new InvocationConfiguration { EnableDefaultExceptionHandler = false, ProcessTerminationTimeout = null });
    }
}

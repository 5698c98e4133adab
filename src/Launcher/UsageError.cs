using System.CommandLine;
using System.CommandLine.Parsing;
using DeepSpeedSharp.Config;

namespace DeepSpeedSharp.Launcher;

/// <summary>Reports a wrong command line, of this program and of the operator.</summary>
internal static class UsageError
{
    /// <summary>Writes every problem and where to find help.</summary>
    /// <param name="parsed">A command line with problems.</param>
    /// <param name="error">Where to write.</param>
    /// <param name="program">Name of the program.</param>
    /// <returns>The exit code.</returns>
    public static int Report(ParseResult parsed, TextWriter error, string program = "deepspeed")
    {
        // With a word too many, the parser's other complaints only follow from it.
        IEnumerable<string> problems = parsed.UnmatchedTokens.Count == 0 ? parsed.Errors.Select(e => Message(e, parsed))
            : parsed.UnmatchedTokens.Select(token => Unknown(token, parsed.CommandResult.Command));
        return Report(problems, error, program, FullName(parsed.CommandResult, program));
    }

    /// <summary>Writes every problem of the form without command.</summary>
    public static int Report(IReadOnlyList<string> problems, TextWriter error) => Report(problems, error, "deepspeed", "deepspeed");

    private static int Report(IEnumerable<string> problems, TextWriter error, string program, string command)
    {
        foreach (string problem in problems)
        {
            error.WriteLine($"{program}: {problem}");
        }

        error.WriteLine($"{program}: see `{command} --help`");
        return ExitCodes.Usage;
    }

    /// <summary>Refuses a misspelt option where the parser would take it for a file name.</summary>
    public static void RefuseOptions(Argument<string> file) => file.Validators.Add(result =>
    {
        if (result.Tokens.Count == 1 && result.Tokens[0].Value is { Length: > 1 } text && text[0] == '-')
        {
            result.AddError(Unknown(text, ((CommandResult)result.Parent!).Command));
        }
    });

    // The parser names neither the argument that is missing nor the commands there are.
    private static string Message(ParseError error, ParseResult parsed)
    {
        Command command = parsed.CommandResult.Command;
        return command.Subcommands.Count > 0 && error.SymbolResult is CommandResult
            ? $"{command.Name} needs one of its commands: {string.Join(", ", command.Subcommands.Select(c => c.Name))}"
            : error.SymbolResult is ArgumentResult { Tokens.Count: 0, Argument: { } argument } ? $"{argument.Name} is missing: {argument.Description}"
            : error.Message.ReplaceLineEndings(" ").Replace("\t", "", StringComparison.Ordinal);
    }

    private static string Unknown(string token, Command command)
    {
        IEnumerable<string> known = command.Subcommands.Select(c => c.Name).Concat(command.Options.Select(o => o.Name));
        string fix = NearestName.Find(token, known) is { } near ? $"did you mean {near}?" : "remove it";
        return $"there is no {(token.StartsWith('-') ? "option" : "command or argument")} {token}; {fix}";
    }

    private static string FullName(CommandResult command, string program) =>
        command.Parent is CommandResult parent ? $"{FullName(parent, program)} {command.Command.Name}" : program;
}

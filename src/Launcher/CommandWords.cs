using System.CommandLine;
using DeepSpeedSharp.Launcher.Launch;

namespace DeepSpeedSharp.Launcher;

/// <summary>What may come next in the words of a command.</summary>
internal static class CommandWords
{
    /// <summary>Names of options and subcommands; for a value, the shell's files.</summary>
    /// <param name="command">The command.</param>
    /// <param name="words">Its words; the last one is being written.</param>
    public static IReadOnlyList<string> Next(Command command, IReadOnlyList<string> words)
    {
        while (words is [var name, _, ..] && command.Subcommands.FirstOrDefault(c => c.Name == name) is { } inner)
        {
            (command, words) = (inner, [.. words.Skip(1)]);
        }

        if (words is [.., var before, _] && command.Options.FirstOrDefault(o => o.Name == before || o.Aliases.Contains(before)) is { } option && option.ValueType != typeof(bool))
        {
            return [.. option.GetCompletions(System.CommandLine.Completions.CompletionContext.Empty).Select(item => item.Label).DefaultIfEmpty(Completion.Files)];
        }

        if (words[^1].StartsWith('-'))
        {
            return [.. command.Options.Where(option => !option.Hidden).SelectMany(option => option.Aliases.Prepend(option.Name)), "--help"];
        }

        return command.Subcommands.Count > 0 ? [.. command.Subcommands.Select(c => c.Name)]
            : command.Arguments.SelectMany(argument => argument.GetCompletions(System.CommandLine.Completions.CompletionContext.Empty)).Select(item => item.Label)
                .DefaultIfEmpty(Completion.Files).ToArray();
    }
}

namespace DeepSpeedSharp.Launcher.Launch;

/// <summary>What may come next in the words of a start, by the table of options. Pure.</summary>
internal static class Completion
{
    /// <summary>Says that the shell's own completion, of files, is right here.</summary>
    public const string Files = ":files";

    /// <summary>The words that may come next.</summary>
    /// <param name="words">The words so far; the last one, perhaps empty, is being written.</param>
    public static IReadOnlyList<string> Next(IReadOnlyList<string> words)
    {
        bool isPlan = words is [CommandTable.Plan, _, ..];
        IReadOnlyList<string> own = isPlan ? [.. words.Skip(1)] : words;
        int i = 0;
        while (i < own.Count - 1)
        {
            if (!own[i].StartsWith('-'))
            {
                return [Files]; // the words of the user's program
            }

            LaunchOption? option = LaunchOption.All.FirstOrDefault(o => o.Names.Contains(own[i]));
            if (option?.ValueName is not null && i + 1 == own.Count - 1)
            {
                return ValuesOf(option);
            }

            i += option?.ValueName is null ? 1 : 2;
        }

        string current = own.Count == 0 ? "" : own[^1];
        if (current.StartsWith('-'))
        {
            return [.. LaunchOption.All.Where(o => o.Group.Length > 0).SelectMany(o => o.Names), "--help", .. isPlan ? [] : (string[])["--version"]];
        }

        return own.Count <= 1 && !isPlan && CommandTable.Names.Any(name => name.StartsWith(current, StringComparison.Ordinal))
            ? [.. CommandTable.Names] : [Files];
    }

    private static IReadOnlyList<string> ValuesOf(LaunchOption option) => option.Names[0] switch
    {
        "--launcher" => Backends.All,
        "--log_level" => ["debug", "info", "warning", "error", "critical"],
        _ => [Files],
    };
}

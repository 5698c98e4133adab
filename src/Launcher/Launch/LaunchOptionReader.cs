using DeepSpeedSharp.Config;

namespace DeepSpeedSharp.Launcher.Launch;

/// <summary>A command line that cannot be understood; carries every problem.</summary>
/// <param name="problems">The problems, at least one.</param>
internal sealed class UsageException(IReadOnlyList<string> problems) : Exception(string.Join(Environment.NewLine, problems))
{
    /// <summary>The problems.</summary>
    public IReadOnlyList<string> Problems => problems;
}

/// <summary>Reads <c>[options] program [args]</c>: the first word that is no option is the user's program, and every
/// word after it is the program's.</summary>
internal static class LaunchOptionReader
{
    /// <summary>Reads a command line.</summary>
    /// <exception cref="UsageException">Options are unknown, lack a value or have a wrong one, or there is no program.</exception>
    public static LaunchOptions Read(IReadOnlyList<string> words)
    {
        var options = new LaunchOptions();
        var problems = new List<string>();
        int i = 0;
        while (i < words.Count && words[i] is ['-', _, ..] && words[i] != "--")
        {
            (string name, string? value) = Split(words[i++]);
            if (Find(name) is not { } option)
            {
                problems.Add(Unknown(name));
                continue;
            }

            if (option.ValueName is null && value is not null)
            {
                problems.Add($"{name} takes no value; write {name} alone");
                continue;
            }

            if (option.ValueName is not null && value is null)
            {
                if (i == words.Count || Find(words[i]) is not null)
                {
                    problems.Add($"{name} needs a value: {name} {option.ValueName}");
                    continue;
                }

                value = words[i++];
            }

            options = Apply(option, name, value ?? "", options, problems);
        }

        i += i < words.Count && words[i] == "--" ? 1 : 0;
        if (i == words.Count && problems.Count == 0)
        {
            problems.Add("there is no program to start; write it after the options");
        }

        return problems.Count > 0 ? throw new UsageException(problems)
            : options with { Program = words[i], ProgramArguments = [.. words.Skip(i + 1)] };
    }

    /// <summary>Whether one of the words before the program asks for help.</summary>
    public static bool AsksForHelp(IReadOnlyList<string> words)
    {
        for (int i = 0; i < words.Count && words[i] is ['-', _, ..] && words[i] != "--"; i++)
        {
            if (words[i] is "--help" or "-h" or "-?")
            {
                return true;
            }

            i += Find(words[i])?.ValueName is null ? 0 : 1;
        }

        return false;
    }

    private static LaunchOption? Find(string name) => LaunchOption.All.FirstOrDefault(option => option.Names.Contains(name));

    private static (string Name, string? Value) Split(string word)
    {
        int equals = word.IndexOf('=', StringComparison.Ordinal);
        if (equals > 0)
        {
            return (word[..equals], word[(equals + 1)..]);
        }

        // -iworker-0, as in every Unix program.
        return word[1] != '-' && word.Length > 2 && Find(word[..2]) is { ValueName: not null } ? (word[..2], word[2..]) : (word, null);
    }

    private static LaunchOptions Apply(
        LaunchOption option, string name, string value, LaunchOptions options, List<string> problems)
    {
        try
        {
            return option.Apply(options, value);
        }
        catch (Exception e) when (e is FormatException or ArgumentException)
        {
            problems.Add($"{name} {value}: {e.Message}");
            return options;
        }
    }

    private static string Unknown(string name)
    {
        // Many write DeepSpeed's underscores as dashes.
        string plain = "--" + name.TrimStart('-').Replace('-', '_');
        IEnumerable<string> known = LaunchOption.All.Where(option => option.Group.Length > 0)
            .SelectMany(option => option.Names);
        string fix = name.Length > 2 && NearestName.Find(plain, known) is { } near ? $"did you mean {near}?"
            : "options of the program itself come after the program";
        return $"there is no option {name}; {fix}";
    }
}

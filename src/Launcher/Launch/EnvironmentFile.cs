using DeepSpeedSharp.Config;

namespace DeepSpeedSharp.Launcher.Launch;

/// <summary>Files of variables for every rank: <c>.deepspeed_env</c> in the home folder, then in the working folder.</summary>
/// <remarks>Lines of <c>NAME=VALUE</c>, split at the first =. Blank lines and comments are skipped, <c>export</c> in
/// front and quotes around a value are taken away, so that a file for a shell can be used too.</remarks>
internal static class EnvironmentFile
{
    /// <summary>The name, unless the variable <see cref="NameVariable"/> gives another name or a path.</summary>
    public const string DefaultName = ".deepspeed_env";

    /// <summary>The variable that replaces the name.</summary>
    public const string NameVariable = "DS_ENV_FILE";

    /// <summary>Paths to read, where they exist; a later one wins.</summary>
    public static IReadOnlyList<string> Paths(IReadOnlyDictionary<string, string> environment, string workingFolder)
    {
        string name = environment.GetValueOrDefault(NameVariable) is { Length: > 0 } other ? other : DefaultName;
        IEnumerable<string> folders = environment.GetValueOrDefault("HOME")
            is { Length: > 0 } home ? [home, workingFolder] : [workingFolder];
        return [.. folders.Select(folder => Path.GetFullPath(Path.Combine(folder, name))).Distinct()];
    }

    /// <summary>Reads the text of one file.</summary>
    /// <param name="text">The text.</param>
    /// <param name="file">Its name, for messages.</param>
    /// <exception cref="ConfigException">A line is neither empty, nor a comment, nor a variable; names every one.</exception>
    public static IReadOnlyList<KeyValuePair<string, string>> Parse(string text, string file)
    {
        var errors = new ConfigErrors();
        var variables = new List<KeyValuePair<string, string>>();
        string[] lines = text.Split('\n');
        for (int i = 0; i < lines.Length; i++)
        {
            string line = lines[i].Trim();
            if (line.Length == 0 || line[0] == '#')
            {
                continue;
            }

            const string Export = "export ";
            line = line.StartsWith(Export, StringComparison.Ordinal) ? line[Export.Length..] : line;
            int equals = line.IndexOf('=', StringComparison.Ordinal);
            string name = equals < 0 ? line : line[..equals].Trim();
            if (equals < 0 || !IsName(name))
            {
                errors.Add($"line {i + 1}", $"\"{line}\" is no variable", "write NAME=VALUE, or # in front of a comment");
                continue;
            }

            variables.Add(new(name, Unquote(line[(equals + 1)..].Trim())));
        }

        errors.ThrowIfAny(file);
        return variables;
    }

    /// <summary>Whether a shell takes a text for the name of a variable.</summary>
    public static bool IsName(string name) =>
        name.Length > 0 && !char.IsAsciiDigit(name[0]) && name.All(c => char.IsAsciiLetterOrDigit(c) || c == '_');

    private static string Unquote(string value) =>
        value.Length > 1 && value[0] is '"' or '\'' && value[0] == value[^1] ? value[1..^1] : value;
}

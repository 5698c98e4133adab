namespace DeepSpeedSharp.Launcher.Launch;

/// <summary>Words for a shell on another host.</summary>
internal static class ShellText
{
    /// <summary>A word that the shell reads as exactly this text: as it is, or in double quotes.</summary>
    public static string Quote(string word) => word.Length > 0 && word.All(IsPlain) ? word : $"\"{Escape(word)}\"";

    /// <summary>The value of a variable; an empty one needs no quotes.</summary>
    public static string Value(string value) => value.Length == 0 ? "" : Quote(value);

    // What keeps its meaning between double quotes. Not "!", which only interactive shells know.
    private static string Escape(string text) =>
        string.Concat(text.Select(c => c is '"' or '\\' or '$' or '`' ? $"\\{c}" : c.ToString()));

    private static bool IsPlain(char c) => char.IsAsciiLetterOrDigit(c) || "_@%+=:,./-".Contains(c, StringComparison.Ordinal);
}

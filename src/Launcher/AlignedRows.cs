namespace DeepSpeedSharp.Launcher;

/// <summary>Names and values in two columns, for people.</summary>
internal static class AlignedRows
{
    /// <summary>Formats rows; a row without value is left out.</summary>
    /// <param name="rows">Names and values.</param>
    /// <returns>One indented line per row.</returns>
    public static IEnumerable<string> Format(IEnumerable<(string Name, string? Value)> rows)
    {
        (string Name, string? Value)[] shown = [.. rows.Where(row => row.Value is not null)];
        int width = shown.Length == 0 ? 0 : shown.Max(row => row.Name.Length);
        return shown.Select(row => $"  {row.Name.PadRight(width)}  {row.Value}");
    }
}

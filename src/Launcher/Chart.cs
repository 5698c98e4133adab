using System.Globalization;

namespace DeepSpeedSharp.Launcher;

/// <summary>Draws numbers as columns of text, with labelled axes.</summary>
internal static class Chart
{
    private const int Rows = 10;
    private const int LabelWidth = 9;
    private const string Eighths = " ▁▂▃▄▅▆▇█";

    /// <summary>Draws a chart.</summary>
    /// <param name="values">Values from left to right, at least one.</param>
    /// <param name="bottom">Value of the lowest line.</param>
    /// <param name="top">Value of the highest line; where it is not above the bottom, another is chosen.</param>
    /// <param name="width">Width of the whole chart in characters, at least 40.</param>
    /// <param name="xLabels">Labels at the left, in the middle and at the right of the horizontal axis.</param>
    /// <returns>The lines; none is longer than the width.</returns>
    public static IEnumerable<string> Draw(
        IReadOnlyList<double> values, double bottom, double top, int width, (string Left, string Middle, string Right) xLabels)
    {
        int columns = Columns(width);
        top = top > bottom ? top : bottom + Math.Max(Math.Abs(bottom), 1e-12);
        int[] heights = [.. Enumerable.Range(0, columns).Select(c => Height(values[c * values.Count / columns], bottom, top))];
        for (int row = Rows - 1; row >= 0; row--)
        {
            string label = row switch
            {
                Rows - 1 => Number(top),
                Rows / 2 => Number(bottom + (top - bottom) * (row + 0.5) / Rows),
                0 => Number(bottom),
                _ => "",
            };
            string bars = string.Concat(heights.Select(height => Eighths[Math.Clamp(height - 8 * row, 0, 8)]));
            yield return $"{label,LabelWidth} {(label.Length > 0 ? '┤' : '│')}{bars}".TrimEnd();
        }

        yield return $"{"",LabelWidth} └{new string('─', columns)}";
        int gap = columns - xLabels.Left.Length - xLabels.Right.Length;
        int before = Math.Max(1, (columns - xLabels.Middle.Length) / 2 - xLabels.Left.Length);
        int after = gap - before - xLabels.Middle.Length;
        yield return new string(' ', LabelWidth + 2) + xLabels.Left + (after > 0
            ? new string(' ', before) + xLabels.Middle + new string(' ', after) : new string(' ', Math.Max(1, gap))) + xLabels.Right;
    }

    /// <summary>Number of columns between the axis and the right edge.</summary>
    public static int Columns(int width) => width - LabelWidth - 2;

    /// <summary>A number with four digits, in at most nine characters: 0.0003, 1.25e-5.</summary>
    public static string Number(double value)
    {
        double rounded = double.Parse(value.ToString("G4", CultureInfo.InvariantCulture), CultureInfo.InvariantCulture);
        return rounded.ToString(rounded == 0 || Math.Abs(rounded) is >= 1e-4 and < 1e5 ? "0.#######" : "0.###e-0",
            CultureInfo.InvariantCulture);
    }

    /// <summary>The same drawing for a terminal that knows no block characters.</summary>
    public static string Ascii(string line) => string.Concat(line.Select(c => c switch
    {
        '▁' or '▂' or '▃' => '.',
        '▄' or '▅' or '▆' or '▇' or '█' => '#',
        '┤' or '└' => '+',
        '│' => '|',
        '─' => '-',
        _ => c,
    }));

    // Every value leaves a mark, so that the curve has no holes where it touches the bottom.
    private static int Height(double value, double bottom, double top) =>
        1 + (int)Math.Round(Math.Clamp((value - bottom) / (top - bottom), 0, 1) * (8 * Rows - 1));
}

using System.Globalization;

namespace DeepSpeedSharp.Config;

/// <summary>Numbers of parameters as people write them.</summary>
public static class ParameterCount
{
    /// <summary>Reads 7B, 1.5B, 124M, 10K or a plain number.</summary>
    /// <param name="text">The text.</param>
    /// <returns>The number, from 1 to below 10^15; null when the text is none.</returns>
    public static long? Parse(string text)
    {
        double unit = char.ToUpperInvariant(text.LastOrDefault()) switch { 'K' => 1e3, 'M' => 1e6, 'B' => 1e9, 'T' => 1e12, _ => 1 };
        return double.TryParse(unit == 1 ? text : text[..^1], NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out double number)
            && number * unit is >= 1 and < 1e15 ? (long)Math.Round(number * unit) : null;
    }
}

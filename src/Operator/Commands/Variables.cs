using System.CommandLine;
using System.Globalization;
using System.Text.RegularExpressions;

namespace DeepSpeedSharp.Operator.Commands;

/// <summary>Options that can also be given as environment variables, as charts do.</summary>
internal static partial class Variables
{
    /// <summary>Creates an option.</summary>
    /// <typeparam name="T">What it is.</typeparam>
    /// <param name="name">Its name.</param>
    /// <param name="variable">The variable that counts when the option is left out.</param>
    /// <param name="value">What counts when that is empty too.</param>
    /// <param name="parse">Reads a value; throws when it makes no sense.</param>
    /// <param name="description">What it is for.</param>
    public static Option<T> Option<T>(string name, string variable, T value, Func<string, T> parse, string description)
    {
        var option = new Option<T>(name)
        {
            Description = $"{description} Also {variable}.",
            DefaultValueFactory = result => Environment.GetEnvironmentVariable(variable) is { Length: > 0 } text
                ? Parse(text, variable, result.AddError) : value,
        };

        // A flag may stand alone, so it keeps the parser that it has.
        if (typeof(T) != typeof(bool))
        {
            option.Arity = ArgumentArity.ExactlyOne;
            option.CustomParser = result => Parse(result.Tokens[0].Value, name, result.AddError);
        }

        return option;

        T Parse(string text, string source, Action<string> fail)
        {
            try
            {
                return parse(text);
            }
            catch (Exception e) when (e is FormatException or ArgumentException or OverflowException)
            {
                fail($"{source}: \"{text}\" is not {Kind(typeof(T)) ?? $"what {name} takes; see --help"}");
                return value;
            }
        }
    }

    private static string? Kind(Type type) => (Nullable.GetUnderlyingType(type) ?? type) switch
    {
        { IsEnum: true } choice => $"one of {string.Join(", ", Enum.GetNames(choice))}",
        var t when t == typeof(TimeSpan) => "a time; use for example 15s or 1m30s",
        var t when t == typeof(int) => "a whole number",
        var t when t == typeof(double) => "a number",
        var t when t == typeof(bool) => "true or false",
        _ => null,
    };

    /// <summary>A number without fraction.</summary>
    public static int Int(string text) => int.Parse(text, CultureInfo.InvariantCulture);

    /// <summary>A number.</summary>
    public static double Real(string text) => double.Parse(text, CultureInfo.InvariantCulture);

    /// <summary>A text, or null for none.</summary>
    public static string? Text(string text) => text.Length == 0 ? null : text;

    /// <summary>Names with commas between them.</summary>
    public static IReadOnlyList<string> Names(string text) =>
        [.. text.Split(',', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries).Distinct(StringComparer.Ordinal)];

    /// <summary>A time as Kubernetes' programs write it, such as 15s or 1m30s.</summary>
    public static TimeSpan Duration(string text)
    {
        if (!Durations().IsMatch(text))
        {
            throw new FormatException();
        }

        double seconds = Part().Matches(text).Sum(part => Real(part.Groups[1].Value) * part.Groups[2].Value switch
        {
            "h" => 3600,
            "m" => 60,
            "ms" => 0.001,
            _ => 1,
        });
        return TimeSpan.FromSeconds(seconds);
    }

    [GeneratedRegex(@"^(\d+(\.\d+)?(ms|h|m|s))+\z")]
    private static partial Regex Durations();

    [GeneratedRegex(@"(\d+(?:\.\d+)?)(ms|h|m|s)")]
    private static partial Regex Part();
}

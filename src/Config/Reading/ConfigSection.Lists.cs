using System.Text.Json;

namespace DeepSpeedSharp.Config;

// Values that are lists.
internal sealed partial class ConfigSection
{
    /// <summary>A list of a fixed number of numbers.</summary>
    public IReadOnlyList<double>? Numbers(string key, int count, NumberRule rule) =>
        List<double>(key, e => AsNumber(e) is { } v && rule.Holds(v) ? v : null, $"a list of {count} numbers, each {rule.Text}",
            $"write [{string.Join(", ", Enumerable.Repeat("x", count))}]", count);

    /// <summary>A number for all parameter groups, or a list with one for each.</summary>
    public IReadOnlyList<double>? PerGroup(string key, NumberRule rule)
    {
        if (Ask(key) is not { } element)
        {
            return null;
        }

        if (element.ValueKind == JsonValueKind.Array && element.GetArrayLength() > 0)
        {
            return List<double>(key, e => AsNumber(e) is { } v && rule.Holds(v) ? v : null,
                $"a list of numbers, each {rule.Text}", $"use {rule.Text}, or a list with one for each parameter group");
        }

        return Number(key, rule) is { } value ? ValueList.Of(value) : null;
    }

    public IReadOnlyList<int>? Ints(string key, int minimum) =>
        List<int>(key, e => AsWhole(e) is { } v && v >= minimum && v <= int.MaxValue ? (int)v : null,
            $"a list of whole numbers of at least {minimum}", "write [x, y, ...]");

    public IReadOnlyList<string>? Texts(string key)
    {
        if (Ask(key) is not { } element)
        {
            return null;
        }

        if (element.ValueKind == JsonValueKind.Array && element.EnumerateArray().All(e => e.ValueKind == JsonValueKind.String))
        {
            return ValueList.Of(element.EnumerateArray().Select(e => e.GetString()!));
        }

        Problem(key, $"{Show(element)} is not a list of strings", "write [\"a\", \"b\"]");
        return null;
    }

    private IReadOnlyList<T>? List<T>(string key, Func<JsonElement, T?> read, string rule, string fix, int? count = null)
        where T : struct
    {
        if (Ask(key) is not { } element)
        {
            return null;
        }

        T?[] values = element.ValueKind == JsonValueKind.Array ? [.. element.EnumerateArray().Select(read)] : [null];
        if (values.All(v => v is not null) && values.Length == (count ?? values.Length))
        {
            return ValueList.Of(values.Select(v => v!.Value));
        }

        Problem(key, $"{Show(element)} is not {rule}", fix);
        return null;
    }
}

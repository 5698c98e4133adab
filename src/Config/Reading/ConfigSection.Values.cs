using System.Globalization;
using System.Text.Json;

namespace DeepSpeedSharp.Config;

// What a value may look like. One rule everywhere, so that a text of digits is a number in every section.
internal sealed partial class ConfigSection
{
    public bool? Flag(string key)
    {
        if (Ask(key) is not { } element)
        {
            return null;
        }

        if (element.ValueKind is JsonValueKind.True or JsonValueKind.False)
        {
            return element.GetBoolean();
        }

        if (element.ValueKind == JsonValueKind.String && bool.TryParse(element.GetString(), out bool value))
        {
            return value;
        }

        Problem(key, $"{Show(element)} is not true or false", "use true or false");
        return null;
    }

    public int? Int(string key, int minimum, int maximum = int.MaxValue, string? fix = null) =>
        (int?)Long(key, minimum, maximum, fix);

    public long? Long(string key, long minimum, long maximum = long.MaxValue, string? fix = null)
    {
        if (Ask(key) is not { } element)
        {
            return null;
        }

        if (AsWhole(element) is not { } value)
        {
            Problem(key, $"{Show(element)} is not a whole number",
                fix ?? (minimum < 0 ? "use a whole number" : $"use a whole number of at least {minimum}"));
            return null;
        }

        if (value < minimum || value > maximum)
        {
            Problem(key, $"{Show(element)} is out of range", fix ?? (value < minimum && maximum >= int.MaxValue
                ? $"use {minimum} or more" : $"use a value from {minimum} to {maximum}"));
            return null;
        }

        return (long)value;
    }

    /// <summary>A whole number written as one: DeepSpeed's schedules refuse <c>10.0</c>.</summary>
    public int? PlainInt(string key, int minimum)
    {
        int? value = Int(key, minimum);
        if (value is not null && Ask(key) is { ValueKind: JsonValueKind.Number } element && !element.TryGetInt64(out _))
        {
            Problem(key, $"{Show(element)} is not written as a whole number", $"write {value}");
        }

        return value;
    }

    /// <summary>A whole number that has no default; 0 after the problem was added.</summary>
    public long RequiredLong(string key, long minimum, string example) =>
        Long(key, minimum) ?? Missing(key, 0L, example);

    /// <summary>Adds the problem that a key without default is missing.</summary>
    public T Missing<T>(string key, T instead, string example)
    {
        // "auto" is not missing; it is only not known yet.
        if (!Has(key) || _values[key].ValueKind == JsonValueKind.Null)
        {
            Problem(key, "it is missing and has no default", $"add \"{key}\", for example {example}");
        }

        return instead;
    }

    public double? Number(string key, NumberRule rule)
    {
        if (Ask(key) is not { } element)
        {
            return null;
        }

        if (AsNumber(element) is { } value && rule.Holds(value))
        {
            return value;
        }

        Problem(key, $"{Show(element)} is not {rule.Text}", $"use {rule.Text}");
        return null;
    }

    public string? Text(string key)
    {
        if (Ask(key) is not { } element)
        {
            return null;
        }

        if (element.ValueKind == JsonValueKind.String)
        {
            return element.GetString();
        }

        Problem(key, $"{Show(element)} is not a string", "use a string in double quotes");
        return null;
    }

    public T? Choice<T>(string key, params ReadOnlySpan<(string Name, T Value)> choices) where T : struct
    {
        if (Ask(key) is not { } element)
        {
            return null;
        }

        var names = new List<string>();
        foreach ((string name, T value) in choices)
        {
            if (element.ValueKind == JsonValueKind.String && name.Equals(element.GetString(), StringComparison.OrdinalIgnoreCase))
            {
                return value;
            }

            names.Add($"\"{name}\"");
        }

        Problem(key, $"{Show(element)} is not one of {string.Join(", ", names)}",
            $"use {string.Join(", ", names.SkipLast(1))} or {names[^1]}");
        return null;
    }

    public string? Choice(string key, params ReadOnlySpan<string> names)
    {
        var choices = new (string, int)[names.Length];
        for (int i = 0; i < names.Length; i++)
        {
            choices[i] = (names[i], i);
        }

        return Choice<int>(key, choices) is { } index ? names[index] : null;
    }

    /// <summary>A finite number, or a text of one.</summary>
    internal static double? AsNumber(JsonElement element) => element.ValueKind switch
    {
        JsonValueKind.Number when element.TryGetDouble(out double value) && double.IsFinite(value) => value,
        JsonValueKind.String when double.TryParse(element.GetString(), NumberStyles.Float, CultureInfo.InvariantCulture,
            out double value) && double.IsFinite(value) => value,
        _ => null,
    };

    // Int128, so that no number of a config can wrap around; a text counts only when it is written in digits.
    private static Int128? AsWhole(JsonElement element)
    {
        string text = element.ValueKind is JsonValueKind.Number or JsonValueKind.String ? element.ToString() : "";
        if (Int128.TryParse(text, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out Int128 whole))
        {
            return whole;
        }

        return element.ValueKind == JsonValueKind.Number && AsNumber(element) is { } number
            && number == Math.Floor(number) && Math.Abs(number) < 1e38 ? (Int128)number : null;
    }

    private static string Show(JsonElement element)
    {
        string text = element.GetRawText();
        return text.Length <= 60 ? text : string.Create(CultureInfo.InvariantCulture, $"{text.AsSpan(0, 57)}...");
    }
}

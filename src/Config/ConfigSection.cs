using System.Globalization;
using System.Text.Json;

namespace DeepSpeedSharp.Config;

/// <summary>Reads one JSON object key by key; whatever was not asked for is a problem when it ends.</summary>
/// <remarks>
/// Numbers follow DeepSpeed's habits: <c>5e8</c> and <c>2.0</c> are integers. Keys listed as planned exist in
/// DeepSpeed but are not built here yet, and are refused by name rather than ignored.
/// </remarks>
internal sealed class ConfigSection
{
    private readonly Dictionary<string, JsonElement> _values = [];
    private readonly HashSet<string> _asked = [];
    private readonly string _path;
    private readonly ConfigErrors _errors;

    public ConfigSection(JsonElement element, string path, ConfigErrors errors)
    {
        (_path, _errors) = (path, errors);
        foreach (JsonProperty property in element.EnumerateObject())
        {
            if (!_values.TryAdd(property.Name, property.Value))
            {
                errors.Add(PathOf(property.Name), "the key appears twice", "keep one of them");
            }
        }
    }

    public string PathOf(string key) => _path.Length == 0 ? key : $"{_path}.{key}";

    public bool Has(string key) => _values.ContainsKey(key);

    public int? Int(string key, int minimum)
    {
        if (Long(key, minimum, int.MaxValue) is not { } value)
        {
            return null;
        }

        return (int)value;
    }

    public long? Long(string key, long minimum, long maximum = long.MaxValue)
    {
        if (Ask(key) is not { } element)
        {
            return null;
        }

        bool isNumber = element.ValueKind == JsonValueKind.Number;
        if (!isNumber || !element.TryGetDouble(out double number) || number != Math.Floor(number))
        {
            _errors.Add(PathOf(key), $"{Show(element)} is not a whole number",
                minimum < 0 ? "use a whole number without quotes" : $"use a whole number of at least {minimum}");
            return null;
        }

        if (number < minimum || number > maximum)
        {
            _errors.Add(PathOf(key), $"{Show(element)} is out of range", number < minimum && maximum >= int.MaxValue
                ? $"use {minimum} or more" : $"use a value from {minimum} to {maximum}");
            return null;
        }

        return element.TryGetInt64(out long exact) ? exact : (long)number;
    }

    public double? Number(string key, Func<double, bool> isValid, string rule)
    {
        if (Ask(key) is not { } element)
        {
            return null;
        }

        if (element.ValueKind != JsonValueKind.Number || !element.TryGetDouble(out double value)
            || !double.IsFinite(value) || !isValid(value))
        {
            _errors.Add(PathOf(key), $"{Show(element)} is not {rule}", $"use {rule}");
            return null;
        }

        return value;
    }

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

        _errors.Add(PathOf(key), $"{Show(element)} is not true or false", "use true or false without quotes");
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

        _errors.Add(PathOf(key), $"{Show(element)} is not a string", "use a string in double quotes");
        return null;
    }

    public IReadOnlyList<double>? Numbers(string key, int count, Func<double, bool> isValid, string rule)
    {
        if (Ask(key) is not { } element)
        {
            return null;
        }

        List<double> values = element.ValueKind != JsonValueKind.Array ? [] : [.. element.EnumerateArray()
            .Where(e => e.ValueKind == JsonValueKind.Number && e.TryGetDouble(out double v) && isValid(v))
            .Select(e => e.GetDouble())];
        if (values.Count == count && element.GetArrayLength() == count)
        {
            return values;
        }

        _errors.Add(PathOf(key), $"{Show(element)} is not a list of {count} numbers, each {rule}",
            $"write [{string.Join(", ", Enumerable.Repeat("x", count))}]");
        return null;
    }

    /// <summary>The raw value of a key that may have several forms; null when absent.</summary>
    public JsonElement? Value(string key) => Ask(key);

    /// <summary>A nested object; null when absent or not an object (which is then a problem).</summary>
    public ConfigSection? Section(string key)
    {
        if (Ask(key) is not { } element)
        {
            return null;
        }

        if (element.ValueKind == JsonValueKind.Object)
        {
            return new ConfigSection(element, PathOf(key), _errors);
        }

        _errors.Add(PathOf(key), $"{Show(element)} is not an object", "write { ... } with the keys of this section");
        return null;
    }

    /// <summary>Takes keys as known, whatever their values.</summary>
    public void Accept(params ReadOnlySpan<string> keys)
    {
        foreach (string key in keys)
        {
            _asked.Add(key);
        }
    }

    /// <summary>Reports every key that nobody asked for.</summary>
    /// <param name="planned">Keys DeepSpeed has and this release does not honour yet.</param>
    public void End(params IReadOnlyCollection<string> planned)
    {
        foreach (string key in _values.Keys.Where(k => !_asked.Contains(k)))
        {
            if (planned.Contains(key))
            {
                _errors.Add(PathOf(key), "this setting is not supported yet", "remove it");
                continue;
            }

            string? nearest = NearestName.Find(key, _asked.Concat(planned));
            _errors.Add(PathOf(key), "there is no such key",
                nearest is null ? "remove it" : $"did you mean \"{nearest}\"?");
        }
    }

    public void Problem(string key, string problem, string fix) => _errors.Add(PathOf(key), problem, fix);

    private JsonElement? Ask(string key)
    {
        _asked.Add(key);
        if (!_values.TryGetValue(key, out JsonElement element) || element.ValueKind == JsonValueKind.Null)
        {
            return null;
        }

        if (element.ValueKind == JsonValueKind.String && element.GetString() == "auto")
        {
            _errors.Add(PathOf(key), "\"auto\" is not supported yet", "write the value");
            return null;
        }

        return element;
    }

    private static string Show(JsonElement element)
    {
        string text = element.GetRawText();
        return text.Length <= 60 ? text : string.Create(CultureInfo.InvariantCulture, $"{text.AsSpan(0, 57)}...");
    }
}

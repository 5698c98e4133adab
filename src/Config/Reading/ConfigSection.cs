using System.Text.Json;

namespace DeepSpeedSharp.Config;

/// <summary>Reads one JSON object key by key; whatever was not asked for is a problem when it ends.</summary>
/// <remarks>
/// Values follow DeepSpeed's habits: <c>5e8</c>, <c>2.0</c> and <c>"2"</c> are integers, <c>"true"</c> is a boolean, and
/// null is a missing key. "auto" is what a trainer's arguments say, or the default.
/// </remarks>
internal sealed partial class ConfigSection
{
    private readonly Dictionary<string, JsonElement> _values = [];
    private readonly Dictionary<string, string> _written = []; // key -> the alias the user wrote
    private readonly Dictionary<string, JsonElement?> _answers = [];
    private readonly HashSet<string> _known = [];
    private readonly HashSet<string> _failed = [];
    private readonly string _path;  // as the user wrote it
    private readonly string _place; // the same without aliases, which is where arguments belong
    private readonly ConfigReading _reading;

    public ConfigSection(JsonElement root, ConfigReading reading) : this(root, "", "", reading)
    {
    }

    private ConfigSection(JsonElement element, string path, string place, ConfigReading reading)
    {
        (_path, _place, _reading) = (path, place, reading);
        foreach (JsonProperty property in element.EnumerateObject())
        {
            if (!_values.TryAdd(property.Name, property.Value))
            {
                Problem(property.Name, "the key appears twice", "keep one of them");
            }
        }
    }

    /// <summary>Whether the key is there, whatever its value.</summary>
    public bool Has(string key) => _values.ContainsKey(key);

    /// <summary>Whether the key is "auto", and there is a trainer to fill it.</summary>
    public bool IsForTrainer(string key) =>
        _reading.Arguments is not null && _values.TryGetValue(key, out JsonElement value) && IsAuto(value);

    /// <summary>Lets a key be written in other ways too; a second way beside the first is a problem.</summary>
    public void Alias(string key, params ReadOnlySpan<string> others)
    {
        foreach (string other in others)
        {
            _known.Add(other);
            if (!_values.Remove(other, out JsonElement value))
            {
                continue;
            }

            if (_values.TryAdd(key, value))
            {
                _written[key] = other;
                continue;
            }

            _reading.Errors.Add(Join(_path, other), $"it means the same as {_written.GetValueOrDefault(key, key)}, which is there too",
                "keep one of them");
        }
    }

    /// <summary>The raw value of a key that may have several forms; null when absent.</summary>
    public JsonElement? Value(string key) => Ask(key);

    /// <summary>A nested object; null when absent or not an object (which is then a problem).</summary>
    public ConfigSection? Section(string key)
    {
        JsonElement? answer = Ask(key);
        if (answer is null && !_values.ContainsKey(key))
        {
            answer = _reading.Arguments?.MissingSection(Join(_place, key));
        }

        if (answer is not { } element)
        {
            return null;
        }

        if (element.ValueKind == JsonValueKind.Object)
        {
            return new ConfigSection(element, PathOf(key), Join(_place, key), _reading);
        }

        Problem(key, $"{Show(element)} is not an object", "write { ... } with the keys of this section");
        return null;
    }

    /// <summary>A nested object without keys, for a section that is missing and has defaults.</summary>
    public ConfigSection Empty(string key) =>
        new(JsonSerializer.SerializeToElement(new { }), PathOf(key), Join(_place, key), _reading);

    /// <summary>Takes keys as known, whatever their values.</summary>
    public void Accept(params ReadOnlySpan<string> keys)
    {
        foreach (string key in keys)
        {
            _known.Add(key);
        }
    }

    /// <summary>Reports every key that nobody asked for.</summary>
    public void End()
    {
        foreach (string key in _values.Keys.Where(k => !_known.Contains(k)))
        {
            string? nearest = NearestName.Find(key, _known);
            Problem(key, "there is no such key", nearest is null ? "remove it" : $"did you mean \"{nearest}\"?");
        }
    }

    /// <summary>Adds a problem of a key; only the first of each key, as the others would follow from it.</summary>
    public void Problem(string key, string problem, string fix)
    {
        if (_failed.Add(key))
        {
            _reading.Errors.Add(PathOf(key), problem, fix);
        }
    }

    private string PathOf(string key) => Join(_path, _written.GetValueOrDefault(key, key));

    private static string Join(string path, string key) => path.Length == 0 ? key : $"{path}.{key}";

    private JsonElement? Ask(string key)
    {
        _known.Add(key);
        if (!_answers.TryGetValue(key, out JsonElement? answer))
        {
            _answers[key] = answer = Answer(key);
        }

        return answer;
    }

    private JsonElement? Answer(string key)
    {
        JsonElement? written = _values.TryGetValue(key, out JsonElement value) && value.ValueKind != JsonValueKind.Null
            ? value : null;
        bool isAuto = written is { } element && IsAuto(element);
        if (_reading.Arguments?.For(Join(_place, key)) is { } argument)
        {
            if (isAuto || (written is null && argument.FillsMissing))
            {
                return argument.Value;
            }

            if (written is { } other && argument.MustMatch && !argument.Matches(other))
            {
                Problem(key, $"{Show(other)} contradicts the argument {argument.Name}, which is {Show(argument.Value)}",
                    "write \"auto\", or make both the same");
            }
        }

        if (!isAuto)
        {
            return written;
        }

        bool isTop = _path.Length == 0 && !_reading.LeavesAuto;
        if (isTop && !(_reading.Arguments is not null && ArgumentValues.IsDerived(key)))
        {
            Problem(key, "\"auto\" is for a trainer to fill, and none did", ArgumentValues.WhoFills(key));
        }
        else if (!isTop)
        {
            _reading.UnresolvedAuto.Add(PathOf(key));
        }

        return null;
    }

    private static bool IsAuto(JsonElement element) =>
        element.ValueKind == JsonValueKind.String && element.GetString() == "auto";
}

using System.Globalization;
using System.Text.Json;

namespace DeepSpeedSharp.Operator.Planning;

/// <summary>Reads what may be missing or of another type, without exceptions.</summary>
internal static class JsonReading
{
    /// <summary>The property, or an undefined element, of which every further reading is empty too.</summary>
    public static JsonElement Get(this JsonElement element, string name) =>
        element.ValueKind == JsonValueKind.Object && element.TryGetProperty(name, out JsonElement value) ? value : default;

    /// <summary>A string property.</summary>
    public static string? Text(this JsonElement element, string name) =>
        element.Get(name) is { ValueKind: JsonValueKind.String } value ? value.GetString() : null;

    /// <summary>A number property, rounded to a whole one.</summary>
    public static long? Number(this JsonElement element, string name) =>
        element.Real(name) is { } value && Math.Abs(value) < 9e15 ? (long)Math.Round(value) : null;

    /// <summary>A number property; NaN and the infinities are written as strings.</summary>
    public static double? Real(this JsonElement element, string name) => element.Get(name) switch
    {
        { ValueKind: JsonValueKind.Number } value => value.GetDouble(),
        { ValueKind: JsonValueKind.String } value when double.TryParse(
            value.GetString(), NumberStyles.Float, CultureInfo.InvariantCulture, out double parsed) => parsed,
        _ => null,
    };

    /// <summary>A time property.</summary>
    public static DateTimeOffset? Time(this JsonElement element, string name) =>
        element.Get(name) is { ValueKind: JsonValueKind.String } value && value.TryGetDateTimeOffset(out DateTimeOffset time)
            ? time : null;
}

using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.RegularExpressions;

namespace DeepSpeedSharp.Operator.Api.Schema;

/// <summary>Writes JSON as block YAML, always in the same way, so that generated files can be compared.</summary>
internal static partial class YamlText
{
    private static readonly JsonSerializerOptions Quoted = new() { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    /// <summary>The YAML text of an object.</summary>
    public static string Write(JsonObject root)
    {
        var text = new StringBuilder();
        Mapping(root, 0, text);
        return text.ToString();
    }

    private static void Mapping(JsonObject mapping, int indent, StringBuilder text)
    {
        foreach ((string key, JsonNode? value) in mapping)
        {
            text.Append(' ', indent).Append(Scalar(JsonValue.Create(key))).Append(':');
            switch (value)
            {
                case JsonObject { Count: > 0 } child:
                    text.Append('\n');
                    Mapping(child, indent + 2, text);
                    break;
                case JsonArray { Count: > 0 } items:
                    text.Append('\n');
                    Sequence(items, indent, text);
                    break;
                default:
                    text.Append(' ').Append(Scalar(value)).Append('\n');
                    break;
            }
        }
    }

    private static void Sequence(JsonArray items, int indent, StringBuilder text)
    {
        foreach (JsonNode? item in items)
        {
            text.Append(' ', indent).Append("- ");
            if (item is JsonObject { Count: > 0 } child)
            {
                // The first key stands on the line of the dash.
                int begin = text.Length;
                Mapping(child, indent + 2, text);
                text.Remove(begin, indent + 2);
            }
            else
            {
                text.Append(Scalar(item)).Append('\n');
            }
        }
    }

    // Quoted unless it can only be read as a string: YAML 1.1 readers take words such as "no" and "1e3" for other things.
    private static string Scalar(JsonNode? value) => value switch
    {
        JsonObject => "{}",
        JsonArray => "[]",
        JsonValue v when v.TryGetValue(out string? s) => Plain().IsMatch(s) && !Word().IsMatch(s) ? s : v.ToJsonString(Quoted),
        null => "null",
        _ => value.ToJsonString(),
    };

    [GeneratedRegex("^[A-Za-z/.$][A-Za-z0-9 _./$()%+-]*[A-Za-z0-9/)]$|^[A-Za-z]$")]
    private static partial Regex Plain();

    [GeneratedRegex("^(?:y|yes|n|no|true|false|on|off|null|nan|inf|\\.nan|\\.inf)$", RegexOptions.IgnoreCase)]
    private static partial Regex Word();
}

using System.Text.Json.Nodes;

namespace DeepSpeedSharp.Operator.Runtime;

/// <summary>JSON merge patches (RFC 7396).</summary>
internal static class MergePatch
{
    /// <summary>The patch that turns one object into another; null when they are equal.</summary>
    /// <remarks>Arrays are replaced whole; a property that is gone becomes an explicit null.</remarks>
    public static JsonObject? Between(JsonObject before, JsonObject after)
    {
        var patch = new JsonObject();
        foreach ((string name, JsonNode? value) in after)
        {
            JsonNode? old = before[name];
            if (JsonNode.DeepEquals(old, value))
            {
                continue;
            }

            patch[name] = old is JsonObject from && value is JsonObject to ? Between(from, to) : value?.DeepClone();
        }

        foreach ((string name, JsonNode? value) in before)
        {
            if (value is not null && !after.ContainsKey(name))
            {
                patch[name] = null;
            }
        }

        return patch.Count == 0 ? null : patch;
    }
}

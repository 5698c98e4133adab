using System.Text.Json;

namespace DeepSpeedSharp.Operator.Planning;

/// <summary>What the operator keeps of a machine of the cluster.</summary>
/// <param name="Name">Its name.</param>
/// <param name="NotReadySince">Since when it does not answer; null when it does.</param>
internal sealed record NodeSnapshot(string Name, DateTimeOffset? NotReadySince)
{
    /// <summary>Reads a Node as the API server sends it.</summary>
    public static NodeSnapshot Read(JsonElement node)
    {
        JsonElement conditions = node.Get("status").Get("conditions");
        JsonElement ready = conditions.ValueKind == JsonValueKind.Array
            ? conditions.EnumerateArray().FirstOrDefault(c => c.Text("type") == "Ready") : default;
        return new NodeSnapshot(node.GetProperty("metadata").Text("name") ?? "",
            ready.Text("status") is "False" or "Unknown" ? ready.Time("lastTransitionTime") : null);
    }
}

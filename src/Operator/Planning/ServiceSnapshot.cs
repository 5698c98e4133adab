using System.Text.Json;

namespace DeepSpeedSharp.Operator.Planning;

/// <summary>What the operator keeps of a job's Service: that it is there.</summary>
/// <param name="OwnerUid">UID of the controlling DeepSpeedJob; null for any other owner.</param>
/// <param name="OwnerKey">Namespace and name of that job.</param>
internal sealed record ServiceSnapshot(string? OwnerUid, string? OwnerKey)
{
    /// <summary>Reads a Service as the API server sends it.</summary>
    public static ServiceSnapshot Read(JsonElement service)
    {
        JsonElement metadata = service.GetProperty("metadata");
        JsonElement owner = PodSnapshot.OwnerOf(metadata);
        return new ServiceSnapshot(owner.Text("uid"), owner.Text("name") is { } name ? $"{metadata.Text("namespace")}/{name}" : null);
    }
}

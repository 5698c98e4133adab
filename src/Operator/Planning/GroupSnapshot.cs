using System.Text.Json;

namespace DeepSpeedSharp.Operator.Planning;

/// <summary>What the operator keeps of a PodGroup: whether its scheduler lets pods be made.</summary>
/// <param name="Namespace">Its namespace.</param>
/// <param name="Name">Its name.</param>
/// <param name="OwnerUid">UID of the DeepSpeedJob that owns it; null for any other owner.</param>
/// <param name="OwnerName">Name of that job.</param>
/// <param name="Phase">Phase that the scheduler wrote; null before it saw the group.</param>
/// <param name="Message">Why the scheduler holds it, when it said so.</param>
internal sealed record GroupSnapshot(string Namespace, string Name, string? OwnerUid, string? OwnerName, string? Phase, string? Message)
{
    /// <summary>Namespace and name.</summary>
    public string Key => $"{Namespace}/{Name}";

    /// <summary>Namespace and name of the owner.</summary>
    public string? OwnerKey => OwnerName is null ? null : $"{Namespace}/{OwnerName}";

    /// <summary>Whether pods may be made: the scheduler has set room aside for them.</summary>
    public bool IsAdmitted => Phase is not (null or "" or "Pending");

    /// <summary>Reads a PodGroup as the API server sends it.</summary>
    public static GroupSnapshot Read(JsonElement group)
    {
        JsonElement metadata = group.GetProperty("metadata");
        JsonElement owner = PodSnapshot.OwnerOf(metadata);
        JsonElement status = group.Get("status");
        return new GroupSnapshot(metadata.Text("namespace") ?? "", metadata.Text("name") ?? "", owner.Text("uid"), owner.Text("name"),
            status.Text("phase"), PodSnapshot.Find(status.Get("conditions"), c => c.Text("type") == "Unschedulable" && c.Text("status") == "True").Text("message"));
    }
}

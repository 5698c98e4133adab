using System.Globalization;
using System.Text.Json;
using DeepSpeedSharp.Operator.Api.V1Alpha1;

namespace DeepSpeedSharp.Launcher.Cluster;

/// <summary>What matters here of a job's pod.</summary>
/// <param name="Name">Its name.</param>
/// <param name="Attempt">The attempt it belongs to.</param>
/// <param name="Node">Its node rank.</param>
/// <param name="Phase">Pending, Running, Succeeded or Failed; what its container waits for where that says more.</param>
/// <param name="HasLog">Whether its container has begun.</param>
/// <param name="IsEnded">Whether its container has ended.</param>
/// <param name="ClusterNode">The machine it runs on; null before it is scheduled.</param>
internal sealed record PodLine(string Name, int Attempt, int Node, string Phase, bool HasLog, bool IsEnded, string? ClusterNode)
{
    /// <summary>Name of the container that trains; the operator's.</summary>
    public const string Container = "trainer";

    /// <summary>Reads a pod as the server sends it.</summary>
    public static PodLine Read(JsonElement pod)
    {
        JsonElement metadata = pod.GetProperty("metadata");
        JsonElement? state = State(pod);
        string phase = pod.TryGetProperty("status", out JsonElement status) && JobText.Text(status, "phase") is { } word ? word : "Pending";
        string? waits = state is { } s && s.TryGetProperty("waiting", out JsonElement waiting) ? JobText.Text(waiting, "reason") : null;
        bool isEnded = phase is "Succeeded" or "Failed" || (state is { } t && t.TryGetProperty("terminated", out _));
        return new PodLine(JobText.Text(metadata, "name") ?? "", Label(JobLabels.Attempt), Label(JobLabels.NodeRank), waits ?? phase,
            isEnded || (state is { } r && r.TryGetProperty("running", out _)), isEnded,
            pod.TryGetProperty("spec", out JsonElement spec) ? JobText.Text(spec, "nodeName") : null);

        int Label(string name) => metadata.TryGetProperty("labels", out JsonElement labels)
            && int.TryParse(JobText.Text(labels, name), NumberStyles.None, CultureInfo.InvariantCulture, out int number) ? number : 0;
    }

    private static JsonElement? State(JsonElement pod)
    {
        if (!pod.TryGetProperty("status", out JsonElement status)
            || !status.TryGetProperty("containerStatuses", out JsonElement containers))
        {
            return null;
        }

        foreach (JsonElement container in containers.EnumerateArray())
        {
            if (JobText.Text(container, "name") == Container && container.TryGetProperty("state", out JsonElement state))
            {
                return state;
            }
        }

        return null;
    }
}

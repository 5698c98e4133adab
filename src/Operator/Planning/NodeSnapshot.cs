using System.Text.Json;

namespace DeepSpeedSharp.Operator.Planning;

/// <summary>What the operator keeps of a machine of the cluster.</summary>
/// <param name="Name">Its name.</param>
/// <param name="NotReadySince">Since when it does not answer; null when it does.</param>
internal sealed record NodeSnapshot(string Name, DateTimeOffset? NotReadySince)
{
    private MeasuredAge Age { get; init; }

    /// <summary>The same machine with what is known of the length of its silence.</summary>
    /// <param name="known">What was known of the machine; null for nothing.</param>
    /// <param name="time">Clock.</param>
    public NodeSnapshot Following(NodeSnapshot? known, TimeProvider time)
    {
        if (NotReadySince is not { } since)
        {
            return this;
        }

        if (known?.NotReadySince == since)
        {
            return known;
        }

        return this with { Age = MeasuredAge.Of(since, isNews: known is not null, time) };
    }

    /// <summary>Its silence up to now; null when it answers.</summary>
    /// <param name="time">Clock.</param>
    public Silence? SilenceNow(TimeProvider time) =>
        NotReadySince is { } since ? new Silence(since, Age.Now(time)) : null;

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

/// <summary>How long a machine has not answered.</summary>
/// <param name="Since">Since when, by the clock of the cluster; for messages.</param>
/// <param name="Length">For how long, as measured here; for decisions.</param>
internal readonly record struct Silence(DateTimeOffset Since, TimeSpan Length);

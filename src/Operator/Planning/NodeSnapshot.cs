using System.Text.Json;

namespace DeepSpeedSharp.Operator.Planning;

/// <summary>What the operator keeps of a machine of the cluster.</summary>
/// <param name="Name">Its name.</param>
/// <param name="NotReadySince">Since when it does not answer; null when it does.</param>
internal sealed record NodeSnapshot(string Name, DateTimeOffset? NotReadySince)
{
    // Of the times that Kubernetes writes, the fraction of a second is cut off.
    private static readonly TimeSpan Fraction = TimeSpan.FromSeconds(1);

    /// <summary>How long it had been silent when that was seen here.</summary>
    private TimeSpan Before { get; init; }

    /// <summary>When that was seen here, by what measures durations.</summary>
    private long SeenAt { get; init; }

    /// <summary>The same machine with what is known of the length of its silence.</summary>
    /// <remarks>The time of day here may be wrong, or be set at any moment, and machines must not seem lost for that. So it is
    /// asked only for a silence that was there before this process was; one that begins later is measured.</remarks>
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

        TimeSpan age = time.GetUtcNow() - since;
        return this with
        {
            Before = age < TimeSpan.Zero ? TimeSpan.Zero : known is not null && age > Fraction ? Fraction : age,
            SeenAt = time.GetTimestamp(),
        };
    }

    /// <summary>Its silence up to now; null when it answers.</summary>
    /// <param name="time">Clock.</param>
    public Silence? SilenceNow(TimeProvider time) =>
        NotReadySince is { } since ? new Silence(since, Before + time.GetElapsedTime(SeenAt)) : null;

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

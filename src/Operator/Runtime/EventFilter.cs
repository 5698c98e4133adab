namespace DeepSpeedSharp.Operator.Runtime;

/// <summary>What becomes of an event.</summary>
/// <param name="Event">The event as it is written; null when it is dropped.</param>
/// <param name="Key">Under which repetitions of it are counted.</param>
internal readonly record struct FilteredEvent(PublishedEvent? Event, string Key);

/// <summary>Keeps one object from flooding the cluster with events, by the rules of Kubernetes' own clients: after ten events
/// of a kind in ten minutes further ones are counted under one, and an object that tells too much is not heard for a while.</summary>
/// <param name="time">Clock.</param>
internal sealed class EventFilter(TimeProvider time)
{
    private const int MostSimilar = 10;
    private const double Burst = 25;
    private const int MostRemembered = 4096;
    private static readonly TimeSpan Window = TimeSpan.FromMinutes(10);
    private static readonly TimeSpan Refill = TimeSpan.FromMinutes(5);

    private readonly Dictionary<string, (int Count, DateTimeOffset Last)> _similar = [];
    private readonly Dictionary<string, (double Tokens, DateTimeOffset At)> _budgets = [];

    /// <summary>Decides about one event.</summary>
    public FilteredEvent Pass(PublishedEvent e)
    {
        DateTimeOffset now = time.GetUtcNow();
        string kind = $"{e.About.Uid}/{e.IsWarning}/{e.Reason}";
        (int count, DateTimeOffset last) = _similar.GetValueOrDefault(kind);
        count = now - last > Window ? 1 : count + 1;
        Remember(_similar, kind, (count, now));
        if (!Spend(e.About.Uid, now))
        {
            return new FilteredEvent(null, kind);
        }

        return count <= MostSimilar
            ? new FilteredEvent(e, $"{kind}/{e.Message}")
            : new FilteredEvent(e with { Message = $"(combined from similar events): {e.Message}" }, $"{kind}/combined");
    }

    private bool Spend(string uid, DateTimeOffset now)
    {
        (double tokens, DateTimeOffset at) = _budgets.TryGetValue(uid, out (double Tokens, DateTimeOffset At) known) ? known : (Burst, now);
        tokens = Math.Min(Burst, tokens + (now - at) / Refill);
        Remember(_budgets, uid, (tokens >= 1 ? tokens - 1 : tokens, now));
        return tokens >= 1;
    }

    // Both only matter for minutes; a cluster with more live objects forgets some early, which costs an event or two.
    private static void Remember<T>(Dictionary<string, T> entries, string key, T value)
    {
        if (entries.Count >= MostRemembered && !entries.ContainsKey(key))
        {
            entries.Clear();
        }

        entries[key] = value;
    }
}

namespace DeepSpeedSharp.Engine.Comm.Store;

/// <summary>Barriers that some ranks have reached and others not yet. Not for several threads.</summary>
internal sealed class Barriers
{
    private readonly Dictionary<string, List<Arrival>> _open = [];

    /// <summary>A rank has come; answered when all have, or with those that are missing.</summary>
    /// <param name="name">Which barrier; it can be used again when it has opened.</param>
    /// <param name="rank">Who came.</param>
    /// <param name="ranks">Who has to come.</param>
    /// <param name="deadline">When this rank stops waiting.</param>
    /// <param name="reply">Called once, now or later.</param>
    public void Enter(string name, int rank, IReadOnlyList<int> ranks, TimeSpan deadline, Reply reply)
    {
        if (!_open.TryGetValue(name, out List<Arrival>? arrivals))
        {
            _open[name] = arrivals = [];
        }

        arrivals.RemoveAll(arrival => arrival.Rank == rank);
        arrivals.Add(new Arrival(rank, ranks, deadline, reply));
        if (Missing(arrivals, ranks).Count == 0)
        {
            _open.Remove(name);
            arrivals.ForEach(arrival => arrival.Reply(ReplyStatus.Done, []));
        }
    }

    /// <summary>Answers those whose time has come; they are no longer counted as having arrived.</summary>
    public void Expire(TimeSpan now)
    {
        foreach ((string name, List<Arrival> arrivals) in _open.ToArray())
        {
            Arrival[] late = [.. arrivals.Where(arrival => now >= arrival.Deadline)];
            foreach (Arrival arrival in late)
            {
                arrival.Reply(ReplyStatus.TimedOut,
                    new FieldWriter().List(Missing(arrivals, arrival.Ranks), (fields, rank) => fields.Number(rank)).ToArray());
            }

            arrivals.RemoveAll(arrival => late.Contains(arrival));
            if (arrivals.Count == 0)
            {
                _open.Remove(name);
            }
        }
    }

    /// <summary>Drops a rank that is gone.</summary>
    public void Forget(int rank)
    {
        foreach ((string name, List<Arrival> arrivals) in _open.ToArray())
        {
            arrivals.RemoveAll(arrival => arrival.Rank == rank);
            if (arrivals.Count == 0)
            {
                _open.Remove(name);
            }
        }
    }

    private static List<int> Missing(List<Arrival> arrivals, IReadOnlyList<int> ranks) =>
        [.. ranks.Where(rank => !arrivals.Exists(arrival => arrival.Rank == rank))];

    private sealed record Arrival(int Rank, IReadOnlyList<int> Ranks, TimeSpan Deadline, Reply Reply);
}

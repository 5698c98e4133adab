using DeepSpeedSharp.Engine.Comm.Recording;

namespace DeepSpeedSharp.Engine.Comm.Store;

/// <summary>What the store knows of each rank, and when it is time to call one lost. Takes the time from its caller and
/// touches no socket. Not for several threads.</summary>
/// <remarks>There is one verdict per run. What explains most comes first: a rank that ended explains silence, silence explains a
/// collective that does not end, and that explains a broken link.</remarks>
internal sealed class Membership(int worldSize, TimeSpan timeout, StoreOptions options)
{
    private readonly Member?[] _members = new Member?[worldSize];
    private readonly Dictionary<string, IReadOnlyList<int>> _groups = [];
    private readonly List<(TimeSpan At, int From, int Accused, string What)> _reports = [];
    private TimeSpan _lastLook;

    /// <summary>Whether all ranks have come.</summary>
    public bool IsComplete { get; private set; }

    /// <summary>Ranks that have not come.</summary>
    public IReadOnlyList<int> Missing => IsComplete ? [] : [.. Enumerable.Range(0, worldSize).Where(rank => _members[rank] is null)];

    /// <summary>Ranks that are neither lost nor gone.</summary>
    public IReadOnlyList<int> Present => [.. Enumerable.Range(0, worldSize).Where(rank => _members[rank] is { EndedAt: null })];

    /// <summary>Where each rank is; of a complete world.</summary>
    public IReadOnlyList<string> Hosts => [.. _members.Select(member => member?.Host ?? "")];

    /// <summary>The given verdict, once there is one.</summary>
    public Verdict? Given { get; private set; }

    /// <summary>Members of a group, when a rank has named it.</summary>
    public IReadOnlyList<int>? GroupOf(string name) => _groups.GetValueOrDefault(name);

    /// <summary>A rank has come, for the first time or again.</summary>
    public void Join(int rank, string host, TimeSpan now)
    {
        _members[rank] = new Member(host) { HeardAt = now };
        IsComplete |= Missing.Count == 0;
    }

    /// <summary>A sign of life.</summary>
    public void Heard(int rank, TimeSpan now) => _members[rank]!.HeardAt = now;

    /// <summary>How far the rank has come.</summary>
    public void Advance(int rank, RankProgress progress)
    {
        _members[rank]!.Progress = progress;
        _members[rank]!.HasProgress = true;
    }

    /// <summary>A rank names the members of a group; ranks that do not exist are left out.</summary>
    public void Define(string group, IReadOnlyList<int> ranks) =>
        _groups.TryAdd(group, [.. ranks.Where(rank => rank >= 0 && rank < worldSize)]);

    /// <summary>The connection of a rank ended.</summary>
    /// <param name="rank">Whose.</param>
    /// <param name="saidGoodbye">Whether it took its leave before.</param>
    /// <param name="now">The time.</param>
    public void End(int rank, bool saidGoodbye, TimeSpan now)
    {
        if (!IsComplete)
        {
            _members[rank] = null; // it may come again
        }
        else if (_members[rank] is { EndedAt: null } member)
        {
            (member.EndedAt, member.SaidGoodbye) = (now, saidGoodbye);
        }
    }

    /// <summary>A rank tells that something failed: a link to another rank, or itself.</summary>
    public void Report(int from, int accused, string what, TimeSpan now) => _reports.Add((now, from, accused, what));

    /// <summary>Whether some rank is lost by now.</summary>
    /// <returns>The verdict, once; null at all other times.</returns>
    public Verdict? Judge(TimeSpan now)
    {
        // This process itself was stopped, or had no processor: what the others sent meanwhile is not read yet.
        TimeSpan gap = now - _lastLook - 2 * options.HeartbeatInterval;
        _lastLook = now;
        if (gap > TimeSpan.Zero)
        {
            foreach (Member? member in _members)
            {
                _ = member is null ? default : member.HeardAt += gap;
            }
        }

        if (Given is not null || !IsComplete)
        {
            return null;
        }

        return Given = Ended(now) ?? Failed() ?? Silent(now) ?? Left() ?? NotComing() ?? Accused(now);
    }

    /// <summary>Settles on a verdict that comes from elsewhere.</summary>
    public Verdict GiveUp(Verdict verdict) => Given = verdict;

    // A host that goes down ends all its ranks, one a little after the other.
    private Verdict? Ended(TimeSpan now)
    {
        int[] ended = Where(member => member is { EndedAt: not null, SaidGoodbye: false });
        return ended.Length > 0 && ended.Max(rank => now - _members[rank]!.EndedAt!.Value) >= options.HeartbeatInterval / 4
            ? Of(ended, $"{(ended.Length == 1 ? "its process" : "their processes")} or machine ended (the connection to rank 0 ended without a goodbye); "
                + $"look at {LogOf(ended)}")
            : null;
    }

    private Verdict? Failed() => _reports.Find(report => report.From == report.Accused) is { What: not null } own
        ? Of([own.From], $"it failed: {own.What}") : null;

    // Ranks of one host fall silent at once, but their last heartbeats lie up to an interval apart.
    private Verdict? Silent(TimeSpan now)
    {
        TimeSpan limit = options.HeartbeatTimeout;
        if (Where(member => member.EndedAt is null && now - member.HeardAt >= limit).Length == 0)
        {
            return null;
        }

        int[] silent = Where(member => member.EndedAt is null && now - member.HeardAt >= limit - 2 * options.HeartbeatInterval);
        return Of(silent, $"no heartbeat for {limit.TotalSeconds:0.#} s: the process is paused, the machine is down or hangs, or the network "
            + $"to it is cut; look at {LogOf(silent)} and at the network between the hosts, or raise DEEPSPEED_HEARTBEAT_TIMEOUT (seconds)");
    }

    // It will never enter what another one waits in.
    private Verdict? Left()
    {
        foreach ((int waiting, GroupProgress at) in Waiting(TimeSpan.Zero))
        {
            int[] left = [.. NotEntered(at).Where(rank => _members[rank] is { SaidGoodbye: true })];
            if (left.Length > 0)
            {
                return Of(left, $"{(left.Length == 1 ? "it" : "they")} left the run, but rank {waiting} waits in {at.Description}: the program failed "
                    + $"there, or took fewer steps than others do; look at {LogOf(left)}");
            }
        }

        return null;
    }

    private Verdict? NotComing()
    {
        foreach ((int waiting, GroupProgress at) in Waiting(timeout))
        {
            int[] behind = NotEntered(at);
            int[] culprits = HoldingUp(behind);
            if (culprits.Length > 0)
            {
                return Of(culprits, $"{(culprits.Length == 1 ? "it has" : "they have")} not entered a collective that others wait for: rank {waiting} has "
                    + $"been waiting for {timeout.TotalSeconds:0.#} s in {at.Description}; the heartbeat goes on, so computation or loading data "
                    + $"hangs; look at {LogOf(culprits)}, or raise DEEPSPEED_TIMEOUT (minutes)");
            }

            if (behind.Length > 0)
            {
                return Of(behind, $"not in {at.Description}, in which rank {waiting} has been waiting for {timeout.TotalSeconds:0.#} s, but waiting in "
                    + $"{_members[behind[0]]!.Progress.Groups.First(group => group.WaitingIn > 0).Description}: the ranks do not call "
                    + "the same collectives in the same order");
            }
        }

        return null;
    }

    // Ranks that wait in a collective of another group are held up themselves: by whom? None when they wait for each other.
    private int[] HoldingUp(IReadOnlyCollection<int> ranks)
    {
        var seen = new HashSet<int>(ranks);
        var next = new Queue<int>(ranks);
        var computing = new SortedSet<int>();
        while (next.TryDequeue(out int rank))
        {
            GroupProgress[] waits = [.. _members[rank]!.Progress.Groups.Where(group => group.WaitingIn > 0)];
            if (waits.Length == 0)
            {
                computing.Add(rank);
            }

            foreach (int other in waits.SelectMany(NotEntered).Where(seen.Add))
            {
                next.Enqueue(other);
            }
        }

        return [.. computing];
    }

    // A broken link alone says little: mostly the accused rank, or another one, turns out to be lost a moment later. Longest of
    // all when nobody is accused: a process with a GPU takes seconds to end, and its connections end last.
    private Verdict? Accused(TimeSpan now)
    {
        foreach ((TimeSpan at, int from, int accused, string what) in _reports)
        {
            bool isNamed = accused >= 0 && accused < worldSize;
            TimeSpan patience = !isNamed ? options.HeartbeatTimeout + 2 * options.HeartbeatInterval
                : _members[accused] is { EndedAt: not null } ? TimeSpan.Zero : 2 * options.HeartbeatInterval;
            if (now - at >= patience)
            {
                return Of(isNamed ? [accused] : [], $"rank {from} reports: {what}");
            }
        }

        return null;
    }

    private IEnumerable<(int Rank, GroupProgress At)> Waiting(TimeSpan atLeast) =>
        Enumerable.Range(0, worldSize).Where(rank => _members[rank] is { EndedAt: null })
            .SelectMany(rank => _members[rank]!.Progress.Groups.Where(group => group.WaitingIn > 0 && group.Waited >= atLeast)
                .Select(group => (rank, group)))
            .OrderByDescending(waiting => waiting.group.Waited);

    private int[] NotEntered(GroupProgress at) => [.. (GroupOf(at.Group) ?? [])
        .Where(rank => (_members[rank]!.Progress.Groups.FirstOrDefault(group => group.Group == at.Group)?.Entered ?? 0) < at.WaitingIn)];

    private int[] Where(Func<Member, bool> condition) =>
        [.. Enumerable.Range(0, worldSize).Where(rank => _members[rank] is { } member && condition(member))];

    private Verdict Of(int[] ranks, string reason)
    {
        Member? first = ranks.Length == 0 ? null : _members[ranks[0]];
        string hosts = string.Join(" and ", ranks.Select(rank => _members[rank]!.Host).Distinct());
        return new Verdict(ranks, hosts, first?.Progress.LastCollective ?? "", first is { HasProgress: true } ? first.Progress.Step : -1, reason);
    }

    private static string LogOf(int[] ranks) => ranks.Length == 1 ? $"the log of rank {ranks[0]}" : $"the logs of ranks {string.Join(", ", ranks)}";

    private sealed class Member(string host)
    {
        public string Host => host;

        public TimeSpan HeardAt { get; set; }

        public RankProgress Progress { get; set; } = RankProgress.None;

        public bool HasProgress { get; set; }

        public TimeSpan? EndedAt { get; set; }

        public bool SaidGoodbye { get; set; }
    }
}

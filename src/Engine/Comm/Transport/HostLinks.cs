namespace DeepSpeedSharp.Engine.Comm.Transport;

/// <summary>All that connects a rank to the others of its group. Made once; the algorithms choose between its parts.</summary>
internal sealed class HostLinks : IDisposable
{
    private IReadOnlyList<(SharedSegment Segment, int Index)> _memory = [];

    private HostLinks(PeerWatch watch, IReadOnlyList<IReadOnlyList<int>> hosts)
    {
        (Watch, Hosts) = (watch, hosts);
        Local = hosts.First(host => host.Contains(watch.Rank));
    }

    /// <summary>Who is waited for, and how long.</summary>
    public PeerWatch Watch { get; }

    /// <summary>The ranks of each host, in the group's numbers.</summary>
    public IReadOnlyList<IReadOnlyList<int>> Hosts { get; }

    /// <summary>The ranks of this host.</summary>
    public IReadOnlyList<int> Local { get; }

    /// <summary>Links for collectives.</summary>
    public required Links Collectives { get; init; }

    /// <summary>Links for sends and receives.</summary>
    public required Links Messages { get; init; }

    /// <summary>What this host's ranks share; null when this rank is alone on its host, or shared memory cannot be had.</summary>
    public Board? Board { get; private init; }

    /// <summary>What was chosen and why, in words.</summary>
    public string Description { get; private init; } = "";

    /// <summary>The links of a process that is alone.</summary>
    /// <param name="globalRank">Its rank in the run.</param>
    public static HostLinks Alone(int globalRank = 0)
    {
        var watch = new PeerWatch(0, [globalRank], ["this process"], TimeSpan.FromMinutes(10));
        var none = new Links(watch, [null], new SpinBudget(1), null);
        return new HostLinks(watch, [[0]]) { Collectives = none, Messages = none, Description = "one rank" };
    }

    /// <summary>Puts together what was linked between processes.</summary>
    /// <param name="watch">Who is waited for.</param>
    /// <param name="hosts">The ranks of each host, in the group's numbers.</param>
    /// <param name="segment">Memory shared with the other ranks of this host; none when there are none, or it cannot be had.</param>
    /// <param name="connections">Per rank that the memory does not reach, its links for collectives and for messages.</param>
    /// <param name="description">What was chosen and why, in words.</param>
    public static HostLinks Between(PeerWatch watch, IReadOnlyList<IReadOnlyList<int>> hosts, SharedSegment? segment,
        IReadOnlyDictionary<int, (Link Collectives, Link Messages)> connections, string description)
    {
        List<int> local = [.. hosts.First(host => host.Contains(watch.Rank))];
        int index = local.IndexOf(watch.Rank);
        var spin = new SpinBudget(local.Count);
        Doorbell? bell = segment?.Bell(index);
        return new HostLinks(watch, hosts)
        {
            Collectives = new Links(watch, [.. Enumerable.Range(0, watch.Ranks.Count).Select(peer => To(peer, 0))], spin, bell),
            Messages = new Links(watch, [.. Enumerable.Range(0, watch.Ranks.Count).Select(peer => To(peer, 1))], spin, bell),
            Board = segment is null ? null : new Board(segment, index, local, watch, spin),
            Description = description,
            _memory = segment is null ? [] : [(segment, index)],
        };

        Link? To(int peer, int channel) => peer == watch.Rank ? null
            : connections.TryGetValue(peer, out (Link Collectives, Link Messages) links) ? channel == 0 ? links.Collectives : links.Messages
            : new RingLink(segment!, channel, index, local.IndexOf(peer));
    }

    /// <summary>Links between ranks that are threads of this process, as if they were on some hosts.</summary>
    /// <param name="hosts">Number of ranks on each host; ranks of one host share a board.</param>
    /// <param name="timeout">Longest wait without progress.</param>
    /// <param name="withBoards">False leaves out the boards, as where shared memory cannot be had.</param>
    /// <param name="ranks">The ranks in the run, where the group is a part of it.</param>
    public static IReadOnlyList<HostLinks> InProcess(IReadOnlyList<int> hosts, TimeSpan timeout, bool withBoards = true, IReadOnlyList<int>? ranks = null)
    {
        int world = hosts.Sum();
        var groups = new List<IReadOnlyList<int>>();
        foreach (int count in hosts)
        {
            groups.Add([.. Enumerable.Range(groups.Sum(group => group.Count), count)]);
        }

        SharedSegment network = SharedSegment.CreateHere(world);
        SharedSegment?[] boards = [.. groups.Select(group => withBoards && group.Count > 1 ? SharedSegment.CreateHere(group.Count) : null)];
        var spin = new SpinBudget(world);
        string[] places = [.. Enumerable.Range(0, world).Select(rank => $"thread {rank}")];
        return [.. Enumerable.Range(0, world).Select(One)];

        HostLinks One(int rank)
        {
            var watch = new PeerWatch(rank, ranks ?? [.. Enumerable.Range(0, world)], places, timeout);
            int host = groups.FindIndex(group => group.Contains(rank));
            int index = rank - groups[host][0];
            return new HostLinks(watch, groups)
            {
                Collectives = new Links(watch, Rings(rank, 0), spin, network.Bell(rank)),
                Messages = new Links(watch, Rings(rank, 1), spin, network.Bell(rank)),
                Board = boards[host] is { } segment ? new Board(segment, index, groups[host], watch, spin) : null,
                Description = "threads of one process",
                _memory = boards[host] is { } board ? [(network, rank), (board, index)] : [(network, rank)],
            };
        }

        Link?[] Rings(int rank, int channel) =>
            [.. Enumerable.Range(0, world).Select(peer => peer == rank ? null : (Link)new RingLink(network, channel, rank, peer))];
    }

    /// <summary>Tells the other ranks that this one is gone; nothing may use the links afterwards but to end.</summary>
    public void Close()
    {
        Collectives.Close();
        Messages.Close();
        foreach ((SharedSegment segment, int index) in _memory)
        {
            segment.Close(index);
        }
    }

    /// <summary>Closes everything; no thread may be in a wait any more.</summary>
    public void Dispose()
    {
        Close();
        Collectives.Dispose();
        Messages.Dispose();
        foreach ((SharedSegment segment, int _) in _memory)
        {
            segment.Release();
        }

        Watch.Dispose();
    }
}

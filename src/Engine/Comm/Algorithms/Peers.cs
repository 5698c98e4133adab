using DeepSpeedSharp.Engine.Comm.Transport;

namespace DeepSpeedSharp.Engine.Comm.Algorithms;

/// <summary>The ranks that take part in an algorithm over links: all of a group, or one per host.</summary>
/// <param name="links">Links to all ranks of the group.</param>
/// <param name="members">The ranks that take part, in the group's numbers; this rank is one of them.</param>
/// <param name="rank">This rank's place among them.</param>
internal readonly struct Peers(Links links, IReadOnlyList<int> members, int rank)
{
    /// <summary>All ranks of a group.</summary>
    public static Peers All(Links links) => new(links, [.. Enumerable.Range(0, links.WorldSize)], links.Rank);

    /// <summary>This rank's place among them.</summary>
    public int Rank => rank;

    /// <summary>How many take part.</summary>
    public int Count => members.Count;

    /// <summary>Sends to one of them while receiving from another, or the same.</summary>
    public void Exchange(int to, Block send, int from, Block receive, object operation) =>
        links.Exchange(members[to], send, members[from], receive, operation);

    /// <summary>Sends to one of them.</summary>
    public void Send(int to, Block block, object operation) => links.Exchange(members[to], block, members[to], default, operation);

    /// <summary>Receives from one of them.</summary>
    public void Receive(int from, Block block, object operation) => links.Exchange(members[from], default, members[from], block, operation);

    /// <summary>Sends to the next of them while receiving from the previous one.</summary>
    public void Shift(Block send, Block receive, object operation) => Exchange((rank + 1) % Count, send, (rank + Count - 1) % Count, receive, operation);
}

namespace DeepSpeedSharp.Engine.Comm;

/// <summary>What carries out the collectives of one group: the host's memory and network, or NCCL.</summary>
/// <remarks>A group has the host's always, for CPU tensors, bytes and texts, and NCCL's beside it when it was asked for, for
/// CUDA tensors. Each runs its calls in the order in which they were started; between the two there is no order.</remarks>
internal interface ICollectives : IDisposable
{
    /// <summary>For the start-up report: <c>host</c> or <c>nccl</c>.</summary>
    string Backend { get; }

    /// <summary>Starts calls that belong together (one, or the parts of a coalesced one).</summary>
    /// <param name="calls">Checked; the tensors belong to the backend until the work has ended.</param>
    /// <param name="now">The caller waits at once: the backend may do all of it on the calling thread.</param>
    /// <exception cref="PeerLostException">Only when <paramref name="now"/> is set; otherwise the work faults with it.</exception>
    Work Start(IReadOnlyList<Collective> calls, bool now);

    /// <summary>Starts sending to one rank. Messages between two ranks keep their order among those of the same tag.</summary>
    /// <param name="piece">What is sent.</param>
    /// <param name="peer">The receiver, in the group's numbers.</param>
    /// <param name="tag">Tells messages to the same receiver apart.</param>
    /// <param name="name">For messages.</param>
    /// <param name="now">As above.</param>
    Work Send(Piece piece, int peer, int tag, string name, bool now);

    /// <summary>Starts receiving from one rank; the arguments are those of <see cref="Send"/>.</summary>
    Work Receive(Piece piece, int peer, int tag, string name, bool now);

    /// <summary>Ends everything that is under way, and fails what comes later, with this reason.</summary>
    void Abort(PeerLostException reason);
}

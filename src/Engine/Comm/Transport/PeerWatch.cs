namespace DeepSpeedSharp.Engine.Comm.Transport;

/// <summary>What every wait of a group asks: is the other rank still there, may one go on waiting, and how is it named.</summary>
internal sealed class PeerWatch : IDisposable
{
    private readonly IReadOnlyList<string> _places;
    private readonly Task<PeerLostException>? _verdict;
    private readonly int[] _processes;
    private volatile PeerLostException? _reason;

    /// <param name="rank">This rank, in the group's numbers.</param>
    /// <param name="ranks">The members' ranks in the run, which messages use.</param>
    /// <param name="places">Where each member is, for messages.</param>
    /// <param name="timeout">Longest wait without progress.</param>
    /// <param name="verdict">Completes when the store has found a rank lost.</param>
    public PeerWatch(int rank, IReadOnlyList<int> ranks, IReadOnlyList<string> places, TimeSpan timeout,
        Task<PeerLostException>? verdict = null)
    {
        (Rank, Ranks, _places, Timeout, _verdict) = (rank, ranks, places, timeout, verdict);
        _processes = new int[ranks.Count];
        Array.Fill(_processes, -1);
    }

    /// <summary>This rank, in the group's numbers.</summary>
    public int Rank { get; }

    /// <summary>The members' ranks in the run.</summary>
    public IReadOnlyList<int> Ranks { get; }

    /// <summary>Longest wait without progress.</summary>
    public TimeSpan Timeout { get; }

    /// <summary>Why nothing can go on; null while it can.</summary>
    public PeerLostException? Reason => _reason ?? (_verdict is { IsCompletedSuccessfully: true } ? _verdict.Result : null);

    /// <summary>Asks the store which rank was the first to go, when this rank has seen another one go.</summary>
    public Func<PeerLostException, PeerLostException>? AskStore { get; init; }

    /// <summary>Ends all waits.</summary>
    public void Abort(PeerLostException reason) => _reason ??= reason;

    /// <summary>Watches a process of this host.</summary>
    public void Follow(int peer, int process) => _processes[peer] = Posix.OpenProcess(process);

    /// <summary>Whether the process of a rank is known to have ended.</summary>
    public bool HasEnded(int peer)
    {
        if (_processes[peer] < 0)
        {
            return false;
        }

        Span<PollDescriptor> one = [new PollDescriptor { Descriptor = _processes[peer], Wanted = Posix.PollIn }];
        return Posix.WaitFor(one, 0) > 0;
    }

    /// <exception cref="PeerLostException">Something was lost meanwhile.</exception>
    public void ThrowIfAborted(object operation)
    {
        if (Reason is { } reason)
        {
            throw new PeerLostException(reason.Rank, $"{operation}, rank {Ranks[Rank]}: ended because {reason.Message}", reason)
            {
                Ranks = reason.Ranks,
                Host = reason.Host,
                LastCollective = reason.LastCollective,
                Step = reason.Step,
            };
        }
    }

    /// <summary>Says that a rank is gone or hangs.</summary>
    /// <param name="peer">In the group's numbers.</param>
    /// <param name="operation">The collective.</param>
    /// <param name="how">What was seen of it.</param>
    /// <param name="timedOut">Whether it might only be late.</param>
    public PeerLostException Lost(int peer, object operation, string how, bool timedOut)
    {
        string advice = timedOut ? $" in {Timeout.TotalSeconds:0.###} s" : "";
        return new PeerLostException(Ranks[peer], $"{operation}, rank {Ranks[Rank]}: lost rank {Ranks[peer]} at {_places[peer]}: {how}{advice}; "
            + $"look at the log of rank {Ranks[peer]}" + (timedOut ? ", or raise DEEPSPEED_TIMEOUT (minutes)" : "")
            + ". See docs/operations.md#lost-ranks.")
        { Host = _places[peer] };
    }

    /// <summary>For a rank that was waited for and did nothing.</summary>
    public void ThrowIfLost(int peer, object operation, string how, TimeSpan waited)
    {
        ThrowIfAborted(operation);
        if (HasEnded(peer))
        {
            throw Lost(peer, operation, $"its process ended after {how}", false);
        }

        if (waited > Timeout)
        {
            throw Lost(peer, operation, how, true);
        }
    }

    public void Dispose()
    {
        foreach (int process in _processes.Where(process => process >= 0))
        {
            Posix.CloseDescriptor(process);
        }

        Array.Fill(_processes, -1);
    }
}

namespace DeepSpeedSharp.Engine.Comm.Transport;

/// <summary>What the ranks of one host write for each other to read, round by round.</summary>
/// <remarks>In a round each rank fills its slot, publishes it, reads the slots of others that it needs, and releases the round. A
/// slot is filled again when all have released the round it held. Counters only grow, so nothing is ever reset.</remarks>
/// <param name="segment">The memory.</param>
/// <param name="index">This rank's place on the host.</param>
/// <param name="members">The ranks of the host, in the group's numbers.</param>
/// <param name="watch">Who is waited for, and how long.</param>
/// <param name="spin">How long to spin.</param>
internal sealed unsafe class Board(SharedSegment segment, int index, IReadOnlyList<int> members, PeerWatch watch, SpinBudget spin)
{
    private long _round;
    private long _released;

    /// <summary>This rank's place among the members.</summary>
    public int Index => index;

    /// <summary>Ranks on the host.</summary>
    public int Count => members.Count;

    /// <summary>The ranks of the host, in the group's numbers.</summary>
    public IReadOnlyList<int> Members => members;

    /// <summary>Bytes of data that a slot holds.</summary>
    public static int SlotBytes => SharedSegment.SlotBytes;

    /// <summary>Starts a round: waits until this rank's slot for it is free.</summary>
    /// <returns>Number of the round.</returns>
    public long Open(object operation)
    {
        long round = ++_round;
        while (_released < round - SharedSegment.Slots)
        {
            long slowest = long.MaxValue;
            for (int other = 0; other < Count; other++)
            {
                if (other != index)
                {
                    AwaitCounter(ref segment.Consumed(other), round - SharedSegment.Slots, other, operation);
                    slowest = Math.Min(slowest, Volatile.Read(ref segment.Consumed(other)));
                }
            }

            _released = slowest;
        }

        return round;
    }

    /// <summary>Whether the next round can be opened without waiting.</summary>
    public bool CanOpen
    {
        get
        {
            for (int other = 0; other < Count; other++)
            {
                if (other != index && Volatile.Read(ref segment.Consumed(other)) < _round + 1 - SharedSegment.Slots)
                {
                    return false;
                }
            }

            return true;
        }
    }

    /// <summary>Whether nobody has to be waited for in a round.</summary>
    public bool AllHavePublished(long round)
    {
        for (int other = 0; other < Count; other++)
        {
            if (other != index && Volatile.Read(ref segment.Published(other)) < round)
            {
                return false;
            }
        }

        return true;
    }

    /// <summary>This rank's slot of a round, to be filled before <see cref="Publish"/>.</summary>
    public Block Mine(long round) => new(segment.Slot(index, round) + SharedSegment.SlotHeader, SlotBytes);

    /// <summary>Lets the others read this rank's slot.</summary>
    /// <param name="round">From <see cref="Open"/>.</param>
    /// <param name="label">A number that the others see before they read; see <see cref="Label"/>.</param>
    public void Publish(long round, RoundLabel label)
    {
        *(RoundLabel*)segment.Slot(index, round) = label;
        Volatile.Write(ref segment.Published(index), round);
        RingAll();
    }

    /// <summary>Waits for another rank's slot of a round.</summary>
    /// <returns>What is in it, until <see cref="Release"/>.</returns>
    public Block Theirs(int other, long round, object operation)
    {
        if (other != index)
        {
            AwaitCounter(ref segment.Published(other), round, other, operation);
        }

        return new Block(segment.Slot(other, round) + SharedSegment.SlotHeader, SlotBytes);
    }

    /// <summary>What a rank has published with its slot; after <see cref="Theirs"/>.</summary>
    public RoundLabel Label(int other, long round) => *(RoundLabel*)segment.Slot(other, round);

    /// <summary>Ends reading in a round and all before it.</summary>
    public void Release(long round)
    {
        Volatile.Write(ref segment.Consumed(index), round);
        RingAll();
    }

    private void RingAll()
    {
        for (int other = 0; other < Count; other++)
        {
            if (other != index)
            {
                segment.Bell(other).Ring();
            }
        }
    }

    private void AwaitCounter(ref long counter, long value, int other, object operation)
    {
        if (Volatile.Read(ref counter) >= value)
        {
            return;
        }

        var patience = new Patience(spin, segment.Bell(index));
        try
        {
            while (Volatile.Read(ref counter) < value)
            {
                if (!patience.Pause())
                {
                    continue;
                }

                watch.ThrowIfAborted(operation);
                // In this order: what it published before it left counts.
                if (segment.IsClosed(other) && Volatile.Read(ref counter) < value)
                {
                    throw watch.Lost(members[other], operation, "the connection ended: it has left the group", false);
                }

                if (Volatile.Read(ref counter) < value)
                {
                    watch.ThrowIfLost(members[other], operation, "it did not come", patience.Waited);
                }
            }

            patience.Progressed();
        }
        finally
        {
            patience.Dispose();
        }
    }
}

/// <summary>What a rank says of its slot in a round.</summary>
/// <param name="Kind">The collective: ranks that are in different ones notice it.</param>
/// <param name="Bytes">Its size, with a meaning that depends on the collective.</param>
internal readonly record struct RoundLabel(int Kind, long Bytes);

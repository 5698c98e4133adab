namespace DeepSpeedSharp.Engine.Comm.Transport;

/// <summary>A stream of bytes between any two ranks of a group. Algorithms see this, and never a socket.</summary>
/// <remarks>Bytes arrive in the order in which they were sent; both sides know how many there are.</remarks>
/// <param name="watch">Who is waited for, and how long.</param>
/// <param name="links">One per rank; null for this rank.</param>
/// <param name="spin">How long to spin.</param>
/// <param name="bell">Rings when shared memory has changed; none without links through it.</param>
internal sealed class Links(PeerWatch watch, IReadOnlyList<Link?> links, SpinBudget spin, Doorbell? bell) : IDisposable
{
    private const int LargestStep = 1 << 20;

    /// <summary>This rank, in the group's numbers.</summary>
    public int Rank => watch.Rank;

    /// <summary>Number of ranks in the group.</summary>
    public int WorldSize => links.Count;

    /// <summary>Bytes that this rank has sent so far.</summary>
    public long BytesSent { get; private set; }

    /// <summary>Who is waited for, and how long.</summary>
    public PeerWatch Watch => watch;

    /// <summary>Sends to one rank while receiving from another, or the same.</summary>
    /// <param name="to">Receiver; any when there is nothing to send.</param>
    /// <param name="send">May be empty.</param>
    /// <param name="from">Sender; any when there is nothing to receive.</param>
    /// <param name="receive">Filled completely; may be empty.</param>
    /// <param name="operation">The collective, for messages.</param>
    /// <exception cref="PeerLostException">One of the two ended, or sent or took nothing within the timeout.</exception>
    public void Exchange(int to, Block send, int from, Block receive, object operation)
    {
        long sent = 0, received = 0;
        Span<PollDescriptor> descriptors = stackalloc PollDescriptor[2];
        var patience = new Patience(spin, bell);
        try
        {
            while (sent < send.Length || received < receive.Length)
            {
                int taken = sent < send.Length ? links[to]!.TrySend(send.Span(sent, LargestStep)) : 0;
                int given = received < receive.Length ? links[from]!.TryReceive(receive.Span(received, LargestStep)) : 0;
                if (taken == Link.Closed || given == Link.Closed)
                {
                    throw Ended(given == Link.Closed ? from : to, operation,
                        given == Link.Closed ? Sent(received, receive) : Took(sent, send));
                }

                (sent, received) = (sent + taken, received + given);
                if (taken + given > 0)
                {
                    patience.Progressed();
                    continue;
                }

                int count = Descriptors(descriptors, sent < send.Length ? links[to] : null, received < receive.Length ? links[from] : null);
                if (patience.Pause(descriptors[..count]))
                {
                    watch.ThrowIfAborted(operation);
                    if (received < receive.Length)
                    {
                        watch.ThrowIfLost(from, operation, Sent(received, receive), patience.Waited);
                    }

                    if (sent < send.Length)
                    {
                        watch.ThrowIfLost(to, operation, Took(sent, send), patience.Waited);
                    }
                }
            }
        }
        finally
        {
            patience.Dispose();
        }

        BytesSent += sent;
    }

    /// <summary>Receives what is there from one rank, without waiting.</summary>
    /// <returns>Number of bytes, or <see cref="Link.Closed"/>.</returns>
    public int TryReceive(int from, Span<byte> bytes) => links[from]!.TryReceive(bytes);

    /// <summary>Tells all other ranks that nothing more comes.</summary>
    public void Close()
    {
        foreach (Link? link in links)
        {
            link?.Close();
        }
    }

    public void Dispose()
    {
        foreach (Link? link in links)
        {
            link?.Dispose();
        }
    }

    // What this rank sees may be the consequence of what it was told a moment ago, of another rank.
    private PeerLostException Ended(int peer, object operation, string how)
    {
        watch.ThrowIfAborted(operation);
        return watch.Lost(peer, operation, $"the connection ended after {how}", false);
    }

    private static string Sent(long received, Block receive) => $"it sent {received} of {receive.Length} bytes";

    private static string Took(long sent, Block send) => $"it took {sent} of {send.Length} bytes";

    private static int Descriptors(Span<PollDescriptor> descriptors, Link? to, Link? from)
    {
        int count = 0;
        if (to?.DescriptorFor(true) is >= 0 and int sending)
        {
            descriptors[count++] = new PollDescriptor { Descriptor = sending, Wanted = Posix.PollOut };
        }

        if (from?.DescriptorFor(false) is >= 0 and int receiving)
        {
            descriptors[count++] = new PollDescriptor { Descriptor = receiving, Wanted = Posix.PollIn };
        }

        return count;
    }
}

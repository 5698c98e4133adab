namespace DeepSpeedSharp.Engine.Comm.Transport;

/// <summary>A link through shared memory: one ring of bytes in each direction, without locks.</summary>
/// <param name="segment">The memory; belongs to someone else.</param>
/// <param name="channel">Which of the links between two ranks.</param>
/// <param name="mine">This rank's place on the host.</param>
/// <param name="theirs">The other's.</param>
internal sealed unsafe class RingLink(SharedSegment segment, int channel, int mine, int theirs) : Link
{
    private readonly byte* _out = segment.Ring(channel, mine, theirs);
    private readonly byte* _in = segment.Ring(channel, theirs, mine);
    private readonly Doorbell _theirs = segment.Bell(theirs);
    private readonly int _capacity = segment.RingBytes;

    public override int TrySend(ReadOnlySpan<byte> bytes)
    {
        long written = *Written(_out);
        int room = _capacity - (int)(written - Volatile.Read(ref *Read(_out)));
        int count = Math.Min(room, bytes.Length);
        if (count == 0)
        {
            return segment.IsClosed(theirs) ? Closed : 0;
        }

        int at = (int)(written % _capacity);
        int first = Math.Min(count, _capacity - at);
        bytes[..first].CopyTo(Data(_out, at, first));
        bytes[first..count].CopyTo(Data(_out, 0, count - first));
        Volatile.Write(ref *Written(_out), written + count);
        _theirs.Ring();
        return count;
    }

    public override int TryReceive(Span<byte> bytes)
    {
        // The order matters: what was written before the other end closed is still read.
        bool closed = segment.IsClosed(theirs);
        long read = *Read(_in);
        int count = (int)Math.Min(Volatile.Read(ref *Written(_in)) - read, bytes.Length);
        if (count == 0)
        {
            return closed ? Closed : 0;
        }

        int at = (int)(read % _capacity);
        int first = Math.Min(count, _capacity - at);
        Data(_in, at, first).CopyTo(bytes);
        Data(_in, 0, count - first).CopyTo(bytes[first..]);
        Volatile.Write(ref *Read(_in), read + count);
        _theirs.Ring();
        return count;
    }

    public override int DescriptorFor(bool sending) => -1;

    public override void Close()
    {
        // The segment tells the others, for all links at once.
    }

    public override void Dispose()
    {
    }

    private static long* Written(byte* ring) => (long*)ring;

    private static long* Read(byte* ring) => (long*)(ring + 64);

    private static Span<byte> Data(byte* ring, int at, int count) => new(ring + SharedSegment.RingHeader + at, count);
}

namespace DeepSpeedSharp.Engine.Comm.Transport;

/// <summary>The memory that the ranks of a group on one host share: a board with slots for collectives, and a ring of bytes for
/// each two ranks.</summary>
/// <remarks>It has no name in any file system: the first rank makes it, the others open it through that process, and the kernel
/// frees it with the last mapping, so a killed rank leaves nothing behind and the size of /dev/shm does not matter. Pages that
/// are not used cost nothing.</remarks>
internal sealed unsafe class SharedSegment
{
    /// <summary>Rounds that a rank may be ahead of the slowest one.</summary>
    public const int Slots = 8;

    /// <summary>Before the data of a slot.</summary>
    public const int SlotHeader = 64;

    /// <summary>Before the bytes of a ring: how much was written and read, on two cache lines.</summary>
    public const int RingHeader = 128;

    /// <summary>Links between two ranks: one for collectives, one for messages.</summary>
    public const int Channels = 2;

    private const int RankHeader = 256;
    private readonly byte* _start;
    private readonly int _ranks;
    private int _users;

    private SharedSegment(byte* start, int ranks, int descriptor, int users)
    {
        _start = start;
        (_ranks, Descriptor, _users) = (ranks, descriptor, users);
    }

    /// <summary>Data of a slot: small enough for a processor's own cache, large enough that meeting costs little.</summary>
    public static int SlotBytes => 256 << 10;

    /// <summary>Of the shared memory, while it has one.</summary>
    public int Descriptor { get; private set; }

    /// <summary>Bytes that a ring holds.</summary>
    public int RingBytes => RingBytesFor(_ranks);

    /// <summary>Makes memory for the ranks of this process, and lets each of them dispose it.</summary>
    public static SharedSegment CreateHere(int ranks) => new(Posix.Map(-1, SizeFor(ranks)), ranks, -1, ranks);

    /// <summary>Makes memory that other processes can open.</summary>
    /// <exception cref="IOException">The kernel refuses.</exception>
    public static SharedSegment Create(int ranks)
    {
        int descriptor = Posix.CreateMemory("deepspeedsharp", SizeFor(ranks));
        return new SharedSegment(Posix.Map(descriptor, SizeFor(ranks)), ranks, descriptor, 1);
    }

    /// <summary>Opens the memory of another process.</summary>
    /// <exception cref="IOException">It is not there, or belongs to another user or container.</exception>
    public static SharedSegment Open(int process, int descriptor, int ranks)
    {
        int mine = Posix.OpenMemory(process, descriptor);
        try
        {
            return new SharedSegment(Posix.Map(mine, SizeFor(ranks)), ranks, -1, 1);
        }
        finally
        {
            Posix.CloseDescriptor(mine);
        }
    }

    /// <summary>Closes the descriptor, once all have opened it.</summary>
    public void Seal()
    {
        if (Descriptor >= 0)
        {
            Posix.CloseDescriptor(Descriptor);
            Descriptor = -1;
        }
    }

    /// <summary>How many rounds a rank has published.</summary>
    public ref long Published(int rank) => ref *(long*)(_start + rank * (long)RankHeader);

    /// <summary>How many rounds a rank has read.</summary>
    public ref long Consumed(int rank) => ref *(long*)(_start + rank * (long)RankHeader + 64);

    /// <summary>Where a rank sleeps.</summary>
    public Doorbell Bell(int rank) => new((int*)(_start + rank * (long)RankHeader + 128));

    /// <summary>Whether a rank has left.</summary>
    public bool IsClosed(int rank) => Volatile.Read(ref *(int*)(_start + rank * (long)RankHeader + 192)) != 0;

    /// <summary>A rank leaves: those that wait for it notice.</summary>
    public void Close(int rank)
    {
        Volatile.Write(ref *(int*)(_start + rank * (long)RankHeader + 192), 1);
        for (int other = 0; other < _ranks; other++)
        {
            Bell(other).Ring();
        }
    }

    /// <summary>The header and the data of a slot.</summary>
    public byte* Slot(int rank, long round) =>
        _start + _ranks * (long)RankHeader + (rank * Slots + round % Slots) * (SlotHeader + SlotBytes);

    /// <summary>The ring from one rank to another.</summary>
    public byte* Ring(int channel, int from, int to) => _start + BoardBytes(_ranks)
        + ((channel * (long)_ranks + from) * _ranks + to) * (RingHeader + RingBytes);

    /// <summary>One user less; the last one gives the memory back.</summary>
    public void Release()
    {
        if (Interlocked.Decrement(ref _users) == 0)
        {
            Seal();
            Posix.Unmap(_start, SizeFor(_ranks));
        }
    }

    private static long SizeFor(int ranks) => BoardBytes(ranks) + Channels * (long)ranks * ranks * (RingHeader + RingBytesFor(ranks));

    private static long BoardBytes(int ranks) => ranks * (RankHeader + Slots * (long)(SlotHeader + SlotBytes));

    private static int RingBytesFor(int ranks) => ranks <= 16 ? 256 << 10 : 64 << 10;
}

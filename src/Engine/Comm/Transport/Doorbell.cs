namespace DeepSpeedSharp.Engine.Comm.Transport;

/// <summary>Where the threads of a rank sleep until another rank has changed shared memory.</summary>
/// <param name="words">Two words in shared memory: how often it rang, and how many threads want it to.</param>
internal readonly unsafe struct Doorbell(int* words)
{
    /// <summary>Wakes the rank if it sleeps; after the change.</summary>
    public void Ring()
    {
        // The sleeper counts itself and then looks at the memory again; we change the memory and then look at the count.
        Interlocked.MemoryBarrier();
        if (Volatile.Read(ref words[1]) != 0)
        {
            Interlocked.Increment(ref words[0]);
            Posix.FutexWake(words);
        }
    }

    /// <summary>Announces that a thread may sleep. Look at the memory once more before <see cref="Sleep"/>.</summary>
    /// <returns>To be given to <see cref="Sleep"/>.</returns>
    public int Arm()
    {
        int seen = Volatile.Read(ref words[0]);
        Interlocked.Increment(ref words[1]);
        return seen;
    }

    /// <summary>Sleeps until it rings after <see cref="Arm"/>, at most for a while.</summary>
    public void Sleep(int seen, int milliseconds) => Posix.FutexWait(words, seen, milliseconds);

    /// <summary>Takes the announcement back.</summary>
    public void Disarm() => Interlocked.Decrement(ref words[1]);
}

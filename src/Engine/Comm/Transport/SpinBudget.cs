namespace DeepSpeedSharp.Engine.Comm.Transport;

/// <summary>How long a wait looks again and again before it sleeps: long while that has paid off, short when it has not.</summary>
/// <remarks>Sleeping and being woken costs some 50 microseconds, a hundred times what a small collective takes; to spin for longer than
/// that never pays, and on a busy machine it takes the processor from the rank that is waited for. With more ranks
/// than processors nobody spins: the one that is waited for needs the processor. Not locked: a lost update does no harm.</remarks>
internal sealed class SpinBudget
{
    private const int Least = 16;
    private readonly int _most;
    private int _turns;

    /// <param name="ranksOnHost">Ranks that share this machine's processors.</param>
    public SpinBudget(int ranksOnHost)
    {
        _most = ranksOnHost <= Environment.ProcessorCount ? 1 << 10 : 0;
        _turns = _most;
    }

    /// <summary>Looks before the processor is given up.</summary>
    public int Turns => _turns;

    /// <summary>A wait ended without sleep.</summary>
    public void Paid() => _turns = Math.Min(_most, _turns * 2);

    /// <summary>A wait had to sleep.</summary>
    public void Failed() => _turns = Math.Min(_most, Math.Max(Least, _turns / 2));
}

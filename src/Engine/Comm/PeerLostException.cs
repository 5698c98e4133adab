namespace DeepSpeedSharp.Engine.Comm;

/// <summary>Another rank ended, hangs or cannot be reached. Restarting the whole world helps; going on does not.</summary>
public sealed class PeerLostException : Exception
{
    /// <summary>Creates the exception.</summary>
    /// <param name="rank">The rank that was lost, as far as this rank can tell; -1 when several or unknown.</param>
    /// <param name="message">What happened, where, and what to do.</param>
    /// <param name="inner">The network's own error.</param>
    public PeerLostException(int rank, string message, Exception? inner = null)
        : base(message, inner)
    {
        Rank = rank;
    }

    /// <summary>The rank that was lost, as far as this rank can tell; -1 when several or unknown.</summary>
    public int Rank { get; }
}

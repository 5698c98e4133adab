namespace DeepSpeedSharp.Engine.Comm;

/// <summary>Another rank ended, hangs or cannot be reached. Restarting the whole world helps; going on does not.</summary>
public sealed class PeerLostException : Exception
{
    /// <summary>Creates the exception.</summary>
    /// <param name="rank">The rank that was lost, as far as this rank can tell; -1 when unknown.</param>
    /// <param name="message">What happened, where, and what to do.</param>
    /// <param name="inner">The network's own error.</param>
    public PeerLostException(int rank, string message, Exception? inner = null)
        : base(message, inner)
    {
        Rank = rank;
        Ranks = rank < 0 ? [] : [rank];
    }

    /// <summary>The rank that was lost, the first one of several; -1 when unknown.</summary>
    public int Rank { get; }

    /// <summary>All ranks that were lost at once, for example those of one host; empty when unknown.</summary>
    public IReadOnlyList<int> Ranks { get; init; }

    /// <summary>Where the first of them ran; empty when unknown.</summary>
    public string Host { get; init; } = "";

    /// <summary>The last collective that the rank is known to have entered; empty when unknown.</summary>
    public string LastCollective { get; init; } = "";

    /// <summary>The optimizer step that the rank is known to have been in; null when unknown.</summary>
    public long? Step { get; init; }
}

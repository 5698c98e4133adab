namespace DeepSpeedSharp.Engine.Comm;

/// <summary>Links of one rank to its two neighbours on a ring. Algorithms see this and never a socket.</summary>
/// <remarks>Implemented over TCP for processes and in memory for many ranks in one test process.</remarks>
internal interface ITransport : IDisposable
{
    /// <summary>Index of this rank.</summary>
    int Rank { get; }

    /// <summary>Number of ranks on the ring.</summary>
    int WorldSize { get; }

    /// <summary>Sends to the rank on the right while receiving from the rank on the left.</summary>
    /// <param name="send">Bytes to send; may be empty. Not to be changed until the task ends.</param>
    /// <param name="receive">Filled completely; may be empty.</param>
    /// <param name="operation">Name of the collective, for messages.</param>
    /// <exception cref="PeerLostException">A neighbour ended, or sent or took nothing within the timeout.</exception>
    Task ShiftAsync(ReadOnlyMemory<byte> send, Memory<byte> receive, string operation);
}

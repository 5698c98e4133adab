namespace DeepSpeedSharp.Checkpoints;

/// <summary>A checkpoint cannot be written or read; the message says which and why.</summary>
/// <param name="message">What happened, where, and what to do.</param>
/// <param name="inner">The cause.</param>
public sealed class CheckpointException(string message, Exception? inner = null) : Exception(message, inner)
{
    /// <summary>Whether the file system was at fault, so that trying again may help.</summary>
    public bool IsPassing { get; init; }

    /// <summary>Whether files are missing, cut or changed, so that an earlier checkpoint may still be whole.</summary>
    public bool IsDamage { get; init; }
}

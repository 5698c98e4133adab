namespace DeepSpeedSharp.Engine.Comm.Transport;

/// <summary>A stream of bytes to one rank and one from it. One thread may send while another receives.</summary>
internal abstract class Link : IDisposable
{
    /// <summary>The answer of a link whose other end is closed.</summary>
    public const int Closed = -1;

    /// <summary>Sends what can be sent at once.</summary>
    /// <returns>Number of bytes, zero when there is no room, or <see cref="Closed"/>.</returns>
    public abstract int TrySend(ReadOnlySpan<byte> bytes);

    /// <summary>Receives what is there.</summary>
    /// <returns>Number of bytes, zero when there are none, or <see cref="Closed"/>.</returns>
    public abstract int TryReceive(Span<byte> bytes);

    /// <summary>The connection that <see cref="TrySend"/> or <see cref="TryReceive"/> waits for; negative for shared memory.</summary>
    public abstract int DescriptorFor(bool sending);

    /// <summary>Tells the other end that nothing more comes; threads that still use this one notice too.</summary>
    public abstract void Close();

    /// <summary>Frees this end; no thread may use it any more.</summary>
    public abstract void Dispose();
}

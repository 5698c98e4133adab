using DeepSpeedSharp.Engine.Native;

namespace DeepSpeedSharp.Engine.Zero;

/// <summary>Masters and states of the elements that the host updates: in its memory, or on a disk and in memory piece by
/// piece.</summary>
internal interface IHostStates : IDisposable
{
    /// <summary>Bytes of host memory.</summary>
    long HostBytes { get; }

    /// <summary>Makes a buffer of zeros; the first is for the masters. All before <see cref="Prepare"/>.</summary>
    /// <param name="name">Its name, for files and messages.</param>
    IShardBuffer Add(string name);

    /// <summary>Call once when all buffers are there.</summary>
    /// <param name="pieces">The ranges that <see cref="Take"/> is going to be asked for, in this order, in every step.</param>
    void Prepare(IReadOnlyList<ElementRange> pieces);

    /// <summary>Brings a piece into memory.</summary>
    /// <param name="index">Which; each step takes all of them in order.</param>
    /// <returns>The piece of each buffer, fp32 on the CPU, to be changed in place until <see cref="Give"/>.</returns>
    /// <exception cref="IOException">A disk failed.</exception>
    IReadOnlyList<Tensor> Take(int index);

    /// <summary>Takes a changed piece back.</summary>
    /// <param name="index">Which.</param>
    /// <param name="isFree">What to wait for before its memory may be used for another piece; null is nothing.</param>
    /// <exception cref="IOException">A disk failed.</exception>
    void Give(int index, CudaEvent? isFree);

    /// <summary>Returns when all changes are where they belong.</summary>
    /// <exception cref="IOException">A disk failed.</exception>
    void Finish();
}

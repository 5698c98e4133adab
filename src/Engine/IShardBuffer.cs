namespace DeepSpeedSharp.Engine;

/// <summary>One of the buffers that this rank's optimizer works with (masters, a moment), wherever it is kept: on the
/// device, in host memory, on a disk, or partly here and partly there.</summary>
/// <remarks>All of them are laid out like the rank's shard. What reads and writes state from outside the step, such as a
/// checkpoint, goes through this.</remarks>
internal interface IShardBuffer : IDisposable
{
    /// <summary>Number of elements, all fp32.</summary>
    long Elements { get; }

    /// <summary>Bytes on the training device.</summary>
    long DeviceBytes { get; }

    /// <summary>Reads a part.</summary>
    /// <param name="range">Which.</param>
    /// <returns>[length] fp32 on any device: a view or a copy, not to be changed. The caller disposes it.</returns>
    /// <exception cref="IOException">The disk could not be read.</exception>
    Tensor Read(ElementRange range);

    /// <summary>Replaces a part.</summary>
    /// <param name="start">Its first element.</param>
    /// <param name="values">[length] of any floating type, on any device.</param>
    /// <exception cref="IOException">The disk could not be written.</exception>
    void Write(long start, Tensor values);
}

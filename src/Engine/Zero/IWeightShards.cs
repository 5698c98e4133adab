using DeepSpeedSharp.Engine.Comm;

namespace DeepSpeedSharp.Engine.Zero;

/// <summary>Where this rank's part of the weights lies between uses in stage 3: on the device, in host memory or on a
/// disk. The only place that knows.</summary>
internal interface IWeightShards : IDisposable
{
    /// <summary>Elements that this rank has, padding included.</summary>
    long Elements { get; }

    /// <summary>Bytes that they take on the training device.</summary>
    long DeviceBytes { get; }

    /// <summary>[own]: all of them, where memory has them; null where it has not.</summary>
    Tensor? Values { get; }

    /// <summary>Starts copying a part to the training device.</summary>
    /// <param name="part">Elements of the shard.</param>
    /// <param name="destination">As many elements, in the weights' type.</param>
    /// <returns>Wait for it: what the device is given afterwards comes after the copy.</returns>
    /// <exception cref="IOException">The disk could not be read; from here or from the wait.</exception>
    Work Read(ElementRange part, Tensor destination);

    /// <summary>Replaces a part.</summary>
    /// <param name="part">Elements of the shard.</param>
    /// <param name="values">As many elements, of any floating type and on any device.</param>
    /// <exception cref="IOException">The disk could not be written.</exception>
    void Write(ElementRange part, Tensor values);

    /// <summary>Waits until no copy reads them, before they are changed in place.</summary>
    void Settle();
}

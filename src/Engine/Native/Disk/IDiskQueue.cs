namespace DeepSpeedSharp.Engine.Native.Disk;

/// <summary>Moves bytes between memory and files while the caller does something else.</summary>
internal interface IDiskQueue : IDisposable
{
    /// <summary>How, for the log.</summary>
    string Name { get; }

    /// <summary>Starts a transfer. Transfers that touch the same bytes are the caller's to order.</summary>
    /// <param name="file">The file.</param>
    /// <param name="isWrite">Whether bytes go to the file.</param>
    /// <param name="offset">First byte in the file, a multiple of <see cref="DiskOptions.Sector"/>.</param>
    /// <param name="address">Memory, at a multiple of it.</param>
    /// <param name="bytes">How many, a multiple of it.</param>
    /// <returns>Wait for it.</returns>
    DiskTransfer Start(DirectFile file, bool isWrite, long offset, nint address, long bytes);
}

using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace DeepSpeedSharp.Engine.Native.Disk;

/// <summary>A file of fixed length that is read and written past the page cache, where the file system can do that.</summary>
internal sealed partial class DirectFile : IDisposable
{
    private const int ReadWrite = 2, Create = 0x40, Exclusive = 0x80, CloseOnExec = 0x80000;
    private const int InvalidArgument = 22, NotSupported = 95;

    private static readonly int Direct = RuntimeInformation.ProcessArchitecture == Architecture.Arm64 ? 0x10000 : 0x4000;

    /// <summary>Makes the file and takes its space.</summary>
    /// <param name="path">A file that does not exist.</param>
    /// <param name="bytes">Its length, a multiple of <see cref="DiskOptions.Sector"/>.</param>
    /// <exception cref="IOException">It cannot be made, or the disk has not enough space.</exception>
    public DirectFile(string path, long bytes)
    {
        (Path, Bytes) = (path, bytes);
        int descriptor = open(path, ReadWrite | Create | Exclusive | CloseOnExec | Direct, 0x180 /* rw for the owner */);
        IsDirect = descriptor >= 0;
        if (descriptor < 0 && Marshal.GetLastPInvokeError() == InvalidArgument)
        {
            File.Delete(path); // some file systems make it first, and refuse then
            descriptor = open(path, ReadWrite | Create | Exclusive | CloseOnExec, 0x180);
        }

        if (descriptor < 0)
        {
            throw new IOException($"{path} cannot be made: {Marshal.GetLastPInvokeErrorMessage()}; give nvme_path a folder that this process may write to");
        }

        Handle = new SafeFileHandle(descriptor, ownsHandle: true);
        int status = bytes == 0 ? 0 : posix_fallocate(descriptor, 0, bytes);
        if (status is InvalidArgument or NotSupported)
        {
            RandomAccess.SetLength(Handle, bytes); // the space is taken as it is written
            status = 0;
        }

        if (status != 0)
        {
            double free = new DriveInfo(path).AvailableFreeSpace / 1048576.0;
            Dispose();
            File.Delete(path);
            throw new IOException($"{path} cannot have its {bytes / 1048576.0:0} MiB: {Marshal.GetPInvokeErrorMessage(status)} ({free:0} MiB are free); "
                + "give nvme_path a disk with more space, or use more ranks");
        }
    }

    /// <summary>Where it is.</summary>
    public string Path { get; }

    /// <summary>Its length.</summary>
    public long Bytes { get; }

    /// <summary>Whether transfers go past the page cache.</summary>
    public bool IsDirect { get; }

    /// <summary>The open file.</summary>
    public SafeFileHandle Handle { get; }

    public void Dispose() => Handle.Dispose();

    [LibraryImport("libc.so.6", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int open(string path, int flags, int mode);

    [LibraryImport("libc.so.6")]
    private static partial int posix_fallocate(int file, long offset, long length);
}

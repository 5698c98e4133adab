using System.Runtime.InteropServices;

namespace DeepSpeedSharp.Checkpoints;

/// <summary>Files and renames that survive a power cut.</summary>
internal static partial class DurableFiles
{
    /// <summary>Writes a file beside its place and moves it there, so that readers see the old or the new one.</summary>
    /// <param name="path">The file.</param>
    /// <param name="content">What is in it afterwards.</param>
    /// <param name="folder">Where to write it first, on the same file system; null for the folder it belongs to.</param>
    public static void Replace(string path, ReadOnlySpan<byte> content, string? folder = null)
    {
        string part = Path.Combine(folder ?? Path.GetDirectoryName(path)!, Path.GetFileName(path) + ".part");
        using (var file = new FileStream(part, FileMode.Create, FileAccess.Write))
        {
            file.Write(content);
            file.Flush(flushToDisk: true);
        }

        File.Move(part, path, overwrite: true);
        SyncFolder(Path.GetDirectoryName(path)!);
    }

    /// <summary>Moves a finished folder to its place. One that is there already is moved aside first and then removed.</summary>
    /// <param name="from">The finished folder.</param>
    /// <param name="to">Its place.</param>
    /// <param name="aside">Where the earlier one is meanwhile; must not be needed.</param>
    public static void ReplaceFolder(string from, string to, string aside)
    {
        SyncFolder(from);
        if (Directory.Exists(to))
        {
            if (Directory.Exists(aside))
            {
                Directory.Delete(aside, recursive: true);
            }

            Directory.Move(to, aside);
        }

        try
        {
            Directory.Move(from, to);
        }
        catch (IOException) when (!Directory.Exists(from) && Directory.Exists(aside) && !Directory.Exists(to))
        {
            // Somebody took the finished folder away; the earlier one stays in force.
            Directory.Move(aside, to);
            throw;
        }

        SyncFolder(Path.GetDirectoryName(to)!);
        if (Directory.Exists(aside))
        {
            Directory.Delete(aside, recursive: true);
        }
    }

    /// <summary>Puts the names in a folder on disk. Without effect on file systems that cannot.</summary>
    public static void SyncFolder(string folder)
    {
        const int ReadOnlyFolder = 0x10000; // O_RDONLY | O_DIRECTORY
        int descriptor = OperatingSystem.IsLinux() ? Open(folder, ReadOnlyFolder) : -1;
        if (descriptor >= 0)
        {
            _ = Sync(descriptor);
            _ = Close(descriptor);
        }
    }

    [LibraryImport("libc", EntryPoint = "open", StringMarshalling = StringMarshalling.Utf8)]
    private static partial int Open(string path, int flags);

    [LibraryImport("libc", EntryPoint = "fsync")]
    private static partial int Sync(int descriptor);

    [LibraryImport("libc", EntryPoint = "close")]
    private static partial int Close(int descriptor);
}

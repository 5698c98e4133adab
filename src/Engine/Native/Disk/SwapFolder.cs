namespace DeepSpeedSharp.Engine.Native.Disk;

/// <summary>A folder of this process's own for state on a disk, which goes when the process ends, at the latest when another
/// one begins on the same disk.</summary>
/// <remarks>A file beside the folder is locked while the process lives; the kernel lets go of the lock however it ends, so a
/// lock that can be taken belongs to a dead one. Process numbers would not tell that between containers.</remarks>
internal sealed class SwapFolder : IDisposable
{
    private const string Prefix = "deepspeed-swap-", LockSuffix = ".lock";

    private readonly FileStream _lock;

    /// <param name="parent">Where; made when missing. Folders that dead processes left there are deleted.</param>
    /// <param name="rank">For the name.</param>
    /// <exception cref="IOException">It cannot be made.</exception>
    public SwapFolder(string parent, int rank)
    {
        try
        {
            Directory.CreateDirectory(parent);
            Sweep(parent);
            (Path, _lock) = Take(parent, rank);
            Directory.CreateDirectory(Path);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            _lock?.Dispose();
            throw new IOException($"zero_optimization's nvme_path {parent} cannot be used: {e.Message}; give a folder on a local disk "
                + "that this process may write to", e);
        }
    }

    /// <summary>The folder.</summary>
    public string Path { get; }

    public void Dispose()
    {
        Remove(Path);
        _lock.Dispose();
    }

    private static (string Path, FileStream Lock) Take(string parent, int rank)
    {
        while (true)
        {
            string path = System.IO.Path.Combine(parent, $"{Prefix}{Environment.MachineName}-{Environment.ProcessId}-rank{rank}-{Guid.NewGuid():N}");
            FileStream? held = Locked(path + LockSuffix, FileMode.CreateNew);
            if (held is not null && File.Exists(path + LockSuffix))
            {
                return (path, held);
            }

            held?.Dispose(); // somebody who sweeps got in between: under another name
        }
    }

    private static void Sweep(string parent)
    {
        foreach (string path in Directory.GetFiles(parent, Prefix + "*" + LockSuffix))
        {
            try
            {
                using FileStream? held = Locked(path, FileMode.Open);
                if (held is not null)
                {
                    Remove(path[..^LockSuffix.Length]);
                }
            }
            catch (Exception e) when (e is UnauthorizedAccessException or IOException)
            {
                // Another user's, or somebody else sweeps too.
            }
        }
    }

    // Holding the lock: files first, so that no folder is without one.
    private static void Remove(string path)
    {
        if (Directory.Exists(path))
        {
            Directory.Delete(path, recursive: true);
        }

        File.Delete(path + LockSuffix);
    }

    private static FileStream? Locked(string path, FileMode mode)
    {
        try
        {
            return new FileStream(path, mode, FileAccess.ReadWrite, FileShare.None);
        }
        catch (IOException) when (File.Exists(path))
        {
            return null; // its owner lives
        }
    }
}

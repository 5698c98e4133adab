using System.Globalization;

namespace DeepSpeedSharp.Worker.Tests;

/// <summary>A control group of the kernel that limits the memory of the processes in it, swap included.</summary>
internal sealed class MemoryGroup : IDisposable
{
    private readonly string _folder;

    private MemoryGroup(string folder) => _folder = folder;

    /// <summary>Makes one, in version 1 or 2 of the kernel's interface.</summary>
    /// <param name="bytes">The limit.</param>
    /// <param name="reason">Why this machine allows none, otherwise.</param>
    public static MemoryGroup? TryCreate(long bytes, out string reason)
    {
        bool isFirst = Directory.Exists("/sys/fs/cgroup/memory");
        string folder = Path.Combine(isFirst ? "/sys/fs/cgroup/memory" : "/sys/fs/cgroup", $"deepspeedsharp-{Guid.NewGuid():N}");
        reason = "";
        try
        {
            Directory.CreateDirectory(folder);
            var group = new MemoryGroup(folder);
            string limit = bytes.ToString(CultureInfo.InvariantCulture);
            try
            {
                File.WriteAllText(Path.Combine(folder, isFirst ? "memory.limit_in_bytes" : "memory.max"), limit);
                File.WriteAllText(Path.Combine(folder, isFirst ? "memory.memsw.limit_in_bytes" : "memory.swap.max"), isFirst ? limit : "0");
                return group;
            }
            catch
            {
                group.Dispose();
                throw;
            }
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            reason = $"this machine does not let a test limit memory: {e.Message}";
            return null;
        }
    }

    /// <summary>A program that joins the group and goes on as another one.</summary>
    /// <param name="script">File to write it to.</param>
    /// <param name="program">The other program.</param>
    public string Wrap(string script, string program)
    {
        File.WriteAllText(script, $"#!/bin/sh\necho $$ > {Path.Combine(_folder, "cgroup.procs")} || exit 1\nexec {program} \"$@\"\n");
        File.SetUnixFileMode(script, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
        return script;
    }

    public void Dispose()
    {
        try
        {
            Directory.Delete(_folder);
        }
        catch (IOException)
        {
            // A process is still ending; the group goes with the machine.
        }
    }
}

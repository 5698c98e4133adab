using DeepSpeedSharp.Config;

namespace DeepSpeedSharp.Launcher.Launch;

/// <summary>The file of <c>--save_pid</c>: <c>PID.deepspeed</c> in the temporary folder, there while the node runs.</summary>
internal sealed class PidFile : IDisposable
{
    private readonly string? _path;

    private PidFile(string? path) => _path = path;

    /// <summary>Writes the file, when wanted.</summary>
    /// <exception cref="ConfigException">It cannot be written.</exception>
    public static PidFile Write(bool isWanted)
    {
        string? path = isWanted ? Path.Combine(Path.GetTempPath(), $"{Environment.ProcessId}.deepspeed") : null;
        if (path is not null)
        {
            try
            {
                File.WriteAllText(path, $"{Environment.ProcessId}");
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                throw Refusal.Option("--save_pid", $"{path} cannot be written: {e.Message}", "set TMPDIR to a folder that can, or remove the option");
            }
        }

        return new PidFile(path);
    }

    /// <summary>Removes the file.</summary>
    public void Dispose()
    {
        if (_path is not null)
        {
            File.Delete(_path);
        }
    }
}

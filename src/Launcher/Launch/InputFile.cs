using DeepSpeedSharp.Config;

namespace DeepSpeedSharp.Launcher.Launch;

/// <summary>A text file of the user: a hostfile, or one of variables.</summary>
internal static class InputFile
{
    /// <summary>Reads it.</summary>
    /// <exception cref="ConfigException">It cannot be read.</exception>
    public static string Read(string path)
    {
        try
        {
            return File.ReadAllText(path);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw Refusal.Of(path, "file", $"it cannot be read: {e.Message}", "correct its permissions");
        }
    }
}

using DeepSpeedSharp.Config;

namespace DeepSpeedSharp.Launcher;

/// <summary>Whether and when a failed job starts again. Arithmetic only.</summary>
internal static class RestartPolicy
{
    private static readonly TimeSpan LongestPause = TimeSpan.FromSeconds(30);

    /// <summary>Whether another start can help: not when the user has to correct something first.</summary>
    /// <param name="exitCode">Exit code of the failure.</param>
    public static bool CanHelp(int exitCode) =>
        exitCode is not (ExitCodes.Usage or ExitCodes.BadData or ExitCodes.Configuration);

    /// <summary>The pause before a restart: 1 s, 2 s, 4 s and so on, at most 30 s.</summary>
    /// <param name="restart">Number of the restart, from 1.</param>
    public static TimeSpan Pause(int restart) =>
        TimeSpan.FromSeconds(Math.Min(LongestPause.TotalSeconds, Math.Pow(2, restart - 1)));
}

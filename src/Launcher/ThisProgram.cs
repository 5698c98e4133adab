using System.Diagnostics;

namespace DeepSpeedSharp.Launcher;

/// <summary>How to start this program again, in one of its internal modes.</summary>
internal static class ThisProgram
{
    /// <summary>Start information with the given arguments.</summary>
    public static ProcessStartInfo StartInfo(IEnumerable<string> arguments) =>
        new(CommandLine[0], [.. CommandLine.Skip(1), .. arguments]) { UseShellExecute = false };

    /// <summary>The words that start this program.</summary>
    public static IReadOnlyList<string> CommandLine { get; } = Find();

    private static string[] Find()
    {
        string self = Environment.ProcessPath
            ?? throw new InvalidOperationException("the path of this program is unknown; is /proc mounted?");
        bool isHost = Path.GetFileNameWithoutExtension(self) == "dotnet";
        return isHost ? [self, typeof(ThisProgram).Assembly.Location] : [self];
    }
}

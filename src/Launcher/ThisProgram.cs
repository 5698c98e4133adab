using System.Diagnostics;

namespace DeepSpeedSharp.Launcher;

/// <summary>How to start this program again, in one of its internal modes.</summary>
internal static class ThisProgram
{
    /// <summary>Start information with the given arguments.</summary>
    public static ProcessStartInfo StartInfo(IEnumerable<string> arguments)
    {
        string self = Environment.ProcessPath
            ?? throw new InvalidOperationException("the path of this program is unknown; is /proc mounted?");
        bool isHost = Path.GetFileNameWithoutExtension(self) == "dotnet";
        string[] all = isHost ? [typeof(ThisProgram).Assembly.Location, .. arguments] : [.. arguments];
        return new ProcessStartInfo(self, all) { UseShellExecute = false };
    }
}

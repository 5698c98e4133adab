using System.Diagnostics;

namespace DeepSpeedSharp.Launcher.Launch;

/// <summary>Runs a short command on a host before anything is started there.</summary>
internal static class SshProbe
{
    private static readonly TimeSpan Longest = TimeSpan.FromSeconds(30);

    /// <summary>Runs the command; it never asks for a password and never waits without end.</summary>
    public static SshAnswer Ask(string host, string command, LaunchOptions options)
    {
        IReadOnlyList<string> words = [.. RemoteCommands.SshTo(host, options), command];
        var start = new ProcessStartInfo(words[0], words.Skip(1))
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };
        try
        {
            using Process ssh = Process.Start(start)!;
            ssh.StandardInput.Close();
            Task<string> output = ssh.StandardOutput.ReadToEndAsync();
            Task<string> error = ssh.StandardError.ReadToEndAsync();
            if (!ssh.WaitForExit(Longest))
            {
                ssh.Kill(entireProcessTree: true);
                return new SshAnswer(false, $"no answer within {Longest.TotalSeconds:0} s");
            }

            string text = (ssh.ExitCode == 0 ? output : error).GetAwaiter().GetResult().Trim();
            return new SshAnswer(ssh.ExitCode == 0,
                ssh.ExitCode == 0 || text.Length > 0 ? text : $"exit code {ssh.ExitCode}");
        }
        catch (System.ComponentModel.Win32Exception)
        {
            return new SshAnswer(false, "ssh is not installed on this machine");
        }
    }
}

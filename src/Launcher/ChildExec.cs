using System.Globalization;
using System.Runtime.InteropServices;
using DeepSpeedSharp.Config;

namespace DeepSpeedSharp.Launcher;

/// <summary>An internal mode of this program: prepares a child process, then becomes the worker.</summary>
/// <remarks>
/// What it sets survives the change of program: a session of its own, so that a terminal's Ctrl-C reaches only the
/// launcher, and one stream for output and errors, so that logs keep their order.
/// </remarks>
internal static class ChildExec
{
    /// <summary>First argument that selects this mode.</summary>
    public const string Mode = "exec-child";

    /// <summary>Exit code when the program could not be started, as of a shell.</summary>
    public const int CannotExecute = 126;

    /// <summary>The arguments that start a program through this mode.</summary>
    /// <param name="program">Its file.</param>
    /// <param name="commandLine">Its name and arguments.</param>
    public static IEnumerable<string> Arguments(string program, IEnumerable<string> commandLine) =>
        [Mode, Environment.ProcessId.ToString(CultureInfo.InvariantCulture), program, .. commandLine];

    /// <summary>Becomes the program of the arguments.</summary>
    /// <param name="args">Process id of the launcher, the program's file, its name, its arguments.</param>
    /// <returns>An exit code, only when the program could not be started.</returns>
    public static int Run(string[] args)
    {
        if (args is not [string parent, string program, ..])
        {
            return ExitCodes.Usage;
        }

        Libc.Duplicate(1, 2);
        Libc.NewSession();
        if (Libc.ParentId() != int.Parse(parent, CultureInfo.InvariantCulture))
        {
            // The launcher died, perhaps before the guard knew of this process.
            return ExitCodes.Terminated;
        }

        // The .NET runtime ignores SIGPIPE; the worker shall find it as a shell would leave it.
        Libc.ResetSignal(Libc.BrokenPipe);
        Libc.Execute(program, [.. args[2..], null]);
        Console.Error.WriteLine($"deepspeed: {program} cannot be started: {Marshal.GetLastPInvokeErrorMessage()}");
        return CannotExecute;
    }
}

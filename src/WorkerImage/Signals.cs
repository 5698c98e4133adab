using System.Globalization;
using System.Runtime.InteropServices;

namespace DeepSpeedSharp.Worker;

/// <summary>Ending processes in order: by SIGTERM, and never outliving the parent.</summary>
internal static partial class Signals
{
    /// <summary>Tells a rank which process started it.</summary>
    public const string ParentVariable = "DSJ_PARENT_PID";

    private const int SigTerm = 15;

    /// <summary>Asks a process to end.</summary>
    public static bool Terminate(int process) => Kill(process, SigTerm) == 0;

    /// <summary>Makes the kernel end this rank when the program that started it dies.</summary>
    public static void EndWithParent()
    {
        const int SetParentDeathSignal = 1;
        if (!int.TryParse(Environment.GetEnvironmentVariable(ParentVariable), CultureInfo.InvariantCulture, out int parent))
        {
            return;
        }

        _ = Control(SetParentDeathSignal, SigTerm, 0, 0, 0);
        if (ParentId() != parent)
        {
            Environment.Exit(143); // it died before we asked
        }
    }

    [LibraryImport("libc", EntryPoint = "kill")]
    private static partial int Kill(int process, int signal);

    [LibraryImport("libc", EntryPoint = "prctl")]
    private static partial int Control(int option, nuint a, nuint b, nuint c, nuint d);

    [LibraryImport("libc", EntryPoint = "getppid")]
    private static partial int ParentId();
}

using System.Runtime.InteropServices;

namespace DeepSpeedSharp.Launcher;

/// <summary>The calls of the C library that .NET has no API for. Linux only, as all of the launcher.</summary>
internal static partial class Libc
{
    public const int Kill = 9;
    public const int BrokenPipe = 13;
    public const int Terminate = 15;

    private const int ExecuteAccess = 1;
    private const int SetParentDeathSignal = 1;

    /// <summary>Makes this process the leader of a new session, out of reach of the terminal's Ctrl-C.</summary>
    [LibraryImport("libc", EntryPoint = "setsid", SetLastError = true)]
    public static partial int NewSession();

    [LibraryImport("libc", EntryPoint = "getppid")]
    public static partial int ParentId();

    [LibraryImport("libc", EntryPoint = "kill", SetLastError = true)]
    public static partial int Send(int processId, int signal);

    [LibraryImport("libc", EntryPoint = "dup2", SetLastError = true)]
    public static partial int Duplicate(int from, int to);

    /// <summary>Replaces this program; returns only when that failed.</summary>
    /// <param name="path">The program file.</param>
    /// <param name="arguments">Its arguments with its name first and null last.</param>
    [LibraryImport("libc", EntryPoint = "execv", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    public static partial int Execute(string path, string?[] arguments);

    /// <summary>Sets a variable for the next program of <see cref="Execute"/>; .NET's own copy is another.</summary>
    [LibraryImport("libc", EntryPoint = "setenv", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    public static partial int SetVariable(string name, string value, int replace);

    /// <summary>Lets the kernel send this process, and the program it becomes, a signal when its parent dies.</summary>
    public static void SignalAtDeathOfParent(int signal) => _ = Control(SetParentDeathSignal, signal, 0, 0, 0);

    /// <summary>Whether this user may execute a file.</summary>
    public static bool CanExecute(string path) => Access(path, ExecuteAccess) == 0;

    /// <summary>Gives a signal its default action again; if ignored, it would stay so in the next program.</summary>
    public static void ResetSignal(int signal) => Handle(signal, 0);

    [LibraryImport("libc", EntryPoint = "prctl")]
    private static partial int Control(int option, nint first, nint second, nint third, nint fourth);

    [LibraryImport("libc", EntryPoint = "access", StringMarshalling = StringMarshalling.Utf8)]
    private static partial int Access(string path, int mode);

    [LibraryImport("libc", EntryPoint = "signal")]
    private static partial nint Handle(int signal, nint handler);
}

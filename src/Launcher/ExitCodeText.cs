using DeepSpeedSharp.Config;

namespace DeepSpeedSharp.Launcher;

/// <summary>What an exit code means, in words.</summary>
internal static class ExitCodeText
{
    private const int SignalBase = 128;

    /// <summary>The code with its meaning where it has one.</summary>
    public static string Describe(int code) =>
        Meaning(code) is { } meaning ? $"exit code {code} ({meaning})" : $"exit code {code}";

    private static string? Meaning(int code) => code switch
    {
        ExitCodes.Usage => "wrong arguments",
        ExitCodes.BadData => "bad or missing data",
        ExitCodes.PeerLost => "peer lost",
        ExitCodes.Internal => "internal error",
        ExitCodes.Temporary => "passing trouble",
        ExitCodes.Configuration => "wrong configuration",
        126 => "the program could not be started",
        127 => "command not found",
        SignalBase + 2 => "SIGINT",
        SignalBase + 4 => "SIGILL, the program has instructions this processor lacks",
        SignalBase + 6 => "SIGABRT, the program gave up; see its last lines",
        SignalBase + 7 => "SIGBUS, often a full /dev/shm or disk",
        SignalBase + Libc.Kill => "SIGKILL, often out of memory; see `dmesg`",
        SignalBase + 11 => "SIGSEGV, a crash in native code",
        SignalBase + Libc.Terminate => "SIGTERM",
        255 => "of ssh: no connection to the host, or it was lost",
        _ => null,
    };
}

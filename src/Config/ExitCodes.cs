namespace DeepSpeedSharp.Config;

/// <summary>Exit codes of the worker and the launcher; the operator and the launcher decide restarts by them.</summary>
/// <remarks>64 to 78 are those of BSD's sysexits.</remarks>
public static class ExitCodes
{
    /// <summary>Training is done.</summary>
    public const int Done = 0;

    /// <summary>A launcher was asked to stop, by a signal or by its front end.</summary>
    public const int Stopped = 1;

    /// <summary>The command line is wrong.</summary>
    public const int Usage = 64;

    /// <summary>Input data is wrong or missing.</summary>
    public const int BadData = 65;

    /// <summary>Another rank was lost; restarting the world helps.</summary>
    public const int PeerLost = 69;

    /// <summary>A defect of this program.</summary>
    public const int Internal = 70;

    /// <summary>A passing trouble; trying again helps.</summary>
    public const int Temporary = 75;

    /// <summary>The config or manifest is wrong.</summary>
    public const int Configuration = 78;

    /// <summary>Ended by Ctrl-C.</summary>
    public const int Interrupted = 130;

    /// <summary>Ended by SIGKILL, by somebody else.</summary>
    public const int Killed = 137;

    /// <summary>Ended by SIGTERM, after a checkpoint.</summary>
    public const int Terminated = 143;
}

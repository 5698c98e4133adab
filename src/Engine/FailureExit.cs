using DeepSpeedSharp.Config;
using DeepSpeedSharp.Engine.Comm;
using DeepSpeedSharp.Engine.Native;
using DeepSpeedSharp.Engine.Precision;

namespace DeepSpeedSharp.Engine;

/// <summary>Ends a program with the exit code that tells launcher and operator whether another start can help.</summary>
/// <remarks>.NET ends with 134 after any unhandled exception, so a misspelt config would be started again and again.</remarks>
public static class FailureExit
{
    /// <summary>From now on, an unhandled exception of the engine ends this process with its code of
    /// <see cref="ExitCodes"/> and its message. Other exceptions end it as before.</summary>
    public static void Install() => AppDomain.CurrentDomain.UnhandledException += OnUnhandled;

    /// <summary>The exit code for an exception.</summary>
    /// <param name="exception">What a call of the engine threw.</param>
    /// <returns>One of <see cref="ExitCodes"/>; null when the exception is not the engine's.</returns>
    public static int? CodeOf(Exception exception) => exception switch
    {
        ConfigException or NativeBackendException or LossScaleException => ExitCodes.Configuration,
        CheckpointException { IsPassing: true } => ExitCodes.Temporary,
        CheckpointException => ExitCodes.BadData,
        PeerLostException => ExitCodes.PeerLost,
        AggregateException { InnerExceptions: [var inner] } => CodeOf(inner),
        _ => null,
    };

    private static void OnUnhandled(object sender, UnhandledExceptionEventArgs failure)
    {
        if (failure.ExceptionObject is Exception exception && CodeOf(exception) is { } code)
        {
            Console.Error.WriteLine(exception.Message);
            Environment.Exit(code);
        }
    }
}

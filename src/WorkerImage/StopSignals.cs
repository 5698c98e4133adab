using System.Runtime.InteropServices;
using DeepSpeedSharp.Config;

namespace DeepSpeedSharp.Worker;

/// <summary>SIGTERM and SIGINT, from the first moment of the process on.</summary>
/// <remarks>The first process of a container gets only the signals it has asked for; before that they are lost, and the
/// pod would be killed at the end of its grace period.</remarks>
internal static class StopSignals
{
    private static readonly List<PosixSignalRegistration> Registrations = [];
    private static Action<PosixSignal> _handler = _ => Environment.Exit(ExitCodes.Terminated);

    /// <summary>Listens. Until somebody handles them, both signals end the process.</summary>
    public static void Listen()
    {
        foreach (PosixSignal signal in (ReadOnlySpan<PosixSignal>)[PosixSignal.SIGTERM, PosixSignal.SIGINT])
        {
            Registrations.Add(PosixSignalRegistration.Create(signal, context =>
            {
                context.Cancel = true;
                Volatile.Read(ref _handler)(context.Signal);
            }));
        }
    }

    /// <summary>Takes over both signals.</summary>
    public static void Handle(Action<PosixSignal> handler) => Volatile.Write(ref _handler, handler);
}

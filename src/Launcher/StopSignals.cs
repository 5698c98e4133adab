using System.Runtime.InteropServices;
using DeepSpeedSharp.Config;

namespace DeepSpeedSharp.Launcher;

/// <summary>Ctrl-C and SIGTERM: the first asks the job to save and stop, the second ends it at once.</summary>
internal sealed class StopSignals : IDisposable
{
    private readonly TaskCompletionSource _requested = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly TaskCompletionSource _insisted = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly PosixSignalRegistration[] _registrations;
    private string? _reason;

    public StopSignals() => _registrations =
    [
        PosixSignalRegistration.Create(PosixSignal.SIGINT, Receive),
        PosixSignalRegistration.Create(PosixSignal.SIGTERM, Receive),
    ];

    /// <summary>Completes at the first signal.</summary>
    public Task Requested => _requested.Task;

    /// <summary>Completes at the second signal.</summary>
    public Task Insisted => _insisted.Task;

    /// <summary>Whether a signal came.</summary>
    public bool IsRequested => Requested.IsCompleted;

    /// <summary>Exit code by the first signal.</summary>
    public int ExitCode { get; private set; }

    /// <summary>The first signal, for messages.</summary>
    public string Name => _reason ?? (ExitCode == ExitCodes.Interrupted ? "Ctrl-C" : "SIGTERM");

    /// <summary>Asks to stop for another reason than a signal.</summary>
    /// <param name="reason">The reason, for messages.</param>
    public void Request(string reason)
    {
        lock (_requested)
        {
            if (!IsRequested)
            {
                (_reason, ExitCode) = (reason, ExitCodes.Terminated);
                _requested.SetResult();
            }
        }
    }

    /// <summary>Asks for an end at once.</summary>
    public void Insist() => _insisted.TrySetResult();

    private void Receive(PosixSignalContext context)
    {
        context.Cancel = true;
        lock (_requested)
        {
            if (IsRequested)
            {
                _insisted.TrySetResult();
                return;
            }

            ExitCode = context.Signal == PosixSignal.SIGINT ? ExitCodes.Interrupted : ExitCodes.Terminated;
            _requested.SetResult();
        }
    }

    public void Dispose()
    {
        foreach (PosixSignalRegistration registration in _registrations)
        {
            registration.Dispose();
        }
    }
}

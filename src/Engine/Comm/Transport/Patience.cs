using System.Diagnostics;

namespace DeepSpeedSharp.Engine.Comm.Transport;

/// <summary>One wait for other ranks: spin, then let others run, then sleep.</summary>
/// <remarks>Call <see cref="Pause"/> between two looks at what is waited for.</remarks>
/// <param name="spin">How long to spin.</param>
/// <param name="bell">Rings when shared memory has changed; none where only connections are waited for.</param>
internal struct Patience(SpinBudget spin, Doorbell? bell)
{
    // Yielding costs less than a microsecond when nobody else wants the processor.
    private const int Yields = 8;
    private const int SleepMilliseconds = 20;

    private long _started;
    private int _turn;
    private int _seen;
    private bool _armed;

    /// <summary>Since the last progress.</summary>
    public readonly TimeSpan Waited => _started == 0 ? TimeSpan.Zero : Stopwatch.GetElapsedTime(_started);

    /// <summary>Waits a little.</summary>
    /// <param name="descriptors">Connections that are waited for too.</param>
    /// <returns>Whether it has slept: time to see whether the others are still there.</returns>
    public bool Pause(Span<PollDescriptor> descriptors = default)
    {
        _turn++;
        if (_turn <= spin.Turns && descriptors.IsEmpty)
        {
            Thread.SpinWait(1);
            return false;
        }

        if (_started == 0)
        {
            _started = Stopwatch.GetTimestamp();
        }

        // A look at a connection is a call into the kernel and takes as long as a yield.
        int spins = descriptors.IsEmpty ? spin.Turns : spin.Turns / 64;
        if (_turn <= spins + Yields)
        {
            Thread.Yield();
            return false;
        }

        if (bell is { } here && !_armed)
        {
            (_seen, _armed) = (here.Arm(), true);
            return false;
        }

        Sleep(descriptors);
        return true;
    }

    /// <summary>Something has arrived or left.</summary>
    public void Progressed()
    {
        if (_turn > 0)
        {
            if (_turn <= spin.Turns)
            {
                spin.Paid();
            }
            else
            {
                spin.Failed();
            }
        }

        Dispose();
        (_turn, _started) = (0, 0);
    }

    /// <summary>Ends the wait.</summary>
    public void Dispose()
    {
        if (_armed)
        {
            _armed = false;
            bell!.Value.Disarm();
        }
    }

    private void Sleep(Span<PollDescriptor> descriptors)
    {
        if (descriptors.IsEmpty)
        {
            bell!.Value.Sleep(_seen, SleepMilliseconds);
            Dispose();
            return;
        }

        // The kernel cannot wait for both at once.
        Posix.WaitFor(descriptors, bell is null ? SleepMilliseconds : 1);
        Dispose();
    }
}

namespace DeepSpeedSharp.Engine.Observability;

/// <summary>Samples per second, over all ranks: since the start and since the last report.</summary>
/// <remarks>The first two steps are left out, as they allocate memory and choose kernels. The device is waited for only
/// at the steps between which a reported speed is measured: a mean over many steps needs no more.</remarks>
/// <param name="clock">The time.</param>
/// <param name="synchronize">Waits for the device.</param>
internal sealed class ThroughputTimer(TimeProvider clock, Action synchronize)
{
    /// <summary>Steps left out at the start.</summary>
    public const int WarmupSteps = 2;

    private int _warmup;
    private long _start; // end of the warm-up
    private long _lastReport;
    private long _samples; // since the warm-up
    private long _samplesAtLastReport;

    /// <summary>Samples per second since the warm-up and since the report before, as of the last step that ended with a
    /// report; null during the warm-up.</summary>
    public (double Running, double Current)? Speed { get; private set; }

    /// <summary>Counts a step that has ended.</summary>
    /// <param name="samples">Samples of the step, over all ranks.</param>
    /// <param name="isReported">Whether <see cref="Speed"/> will be shown for this step.</param>
    public void EndStep(int samples, bool isReported)
    {
        if (_warmup < WarmupSteps)
        {
            if (++_warmup == WarmupSteps)
            {
                synchronize();
                _start = _lastReport = clock.GetTimestamp();
            }

            return;
        }

        _samples += samples;
        if (isReported)
        {
            synchronize();
            long now = clock.GetTimestamp();
            Speed = (PerSecond(_samples, _start, now), PerSecond(_samples - _samplesAtLastReport, _lastReport, now));
            (_lastReport, _samplesAtLastReport) = (now, _samples);
        }
    }

    private double PerSecond(long samples, long start, long end)
    {
        double seconds = clock.GetElapsedTime(start, end).TotalSeconds;
        return seconds > 0 ? samples / seconds : 0;
    }
}

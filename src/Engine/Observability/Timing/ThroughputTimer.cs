namespace DeepSpeedSharp.Engine.Observability;

/// <summary>Samples per second, over all ranks: since the start and since the last report.</summary>
/// <remarks>The first two steps are left out, as they allocate memory and choose kernels. Time is read between steps,
/// and the device is waited for only when a report is due: a mean over many steps needs no more.</remarks>
internal sealed class ThroughputTimer(int batchSize, TimeProvider clock, Action synchronize)
{
    /// <summary>Steps left out at the start.</summary>
    public const int WarmupSteps = 2;

    private long _steps;
    private long _start; // of the first step that counts
    private long _lastReport;
    private long _stepsAtLastReport = WarmupSteps;

    /// <summary>Counts a step that has ended.</summary>
    public void EndStep()
    {
        if (++_steps == WarmupSteps)
        {
            synchronize();
            _start = _lastReport = clock.GetTimestamp();
        }
    }

    /// <summary>Samples per second since the warm-up and since the last report; null during the warm-up.</summary>
    public (double Running, double Current)? Report()
    {
        if (_steps <= _stepsAtLastReport)
        {
            return null;
        }

        synchronize();
        long now = clock.GetTimestamp();
        (double Running, double Current) speed = (PerSecond(_steps - WarmupSteps, _start), PerSecond(_steps - _stepsAtLastReport, _lastReport));
        (_lastReport, _stepsAtLastReport) = (now, _steps);
        return speed;

        double PerSecond(long steps, long since)
        {
            double seconds = clock.GetElapsedTime(since, now).TotalSeconds;
            return seconds > 0 ? steps * (double)batchSize / seconds : 0;
        }
    }
}

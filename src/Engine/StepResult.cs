namespace DeepSpeedSharp.Engine;

/// <summary>A step that was taken; its measurements may still be on their way from the GPU.</summary>
/// <remarks>Reading <see cref="Metrics"/> a step later costs nothing; reading it at once waits for the GPU.</remarks>
public sealed class StepResult
{
    private readonly Func<StepMetrics> _read;
    private readonly Func<bool> _isReady;
    private StepMetrics? _metrics;

    internal StepResult(long step, Func<StepMetrics> read, Func<bool> isReady) => (Step, _read, _isReady) = (step, read, isReady);

    /// <summary>Number of the step, from 1.</summary>
    public long Step { get; }

    /// <summary>Whether <see cref="Metrics"/> returns at once; the same on every rank, so that a program may act on it.</summary>
    public bool IsReady => _metrics is not null || _isReady();

    /// <summary>What the step measured.</summary>
    public StepMetrics Metrics => _metrics ??= _read();
}

using DeepSpeedSharp.Config;

namespace DeepSpeedSharp.Engine.Schedules;

/// <summary>Raises the learning rate from a minimum to a maximum, and keeps it there.</summary>
/// <remarks>
/// DeepSpeed's rule. The value before the first step and after it are both the minimum, so with a logarithmic warm-up
/// the first two updates run at the minimum.
/// </remarks>
public sealed class WarmupLR
{
    private readonly WarmupParams _config;
    private readonly double _maximum;
    private readonly int _steps;

    /// <summary>Creates the schedule, before its first step.</summary>
    /// <param name="config">Its parameters.</param>
    /// <param name="optimizerLearningRate">The maximum when the config names none.</param>
    public WarmupLR(WarmupParams config, double optimizerLearningRate)
    {
        _config = config;
        _maximum = config.MaxLearningRate?[0] ?? optimizerLearningRate;
        _steps = Math.Max(2, config.Steps);
    }

    /// <summary>Number of steps taken, minus one; -1 before the first.</summary>
    public long LastBatchIteration { get; set; } = -1;

    /// <summary>The learning rate in force.</summary>
    public double LearningRate => At(LastBatchIteration);

    /// <summary>Moves on by one optimizer step.</summary>
    public void Step() => LastBatchIteration++;

    /// <summary>The learning rate after a number of steps.</summary>
    /// <param name="iteration">Steps taken, minus one.</param>
    /// <returns>The learning rate.</returns>
    public double At(long iteration)
    {
        double warmth = iteration switch
        {
            < 0 => 0,
            _ when iteration >= _steps => 1,
            _ when _config.Type == "linear" => (double)iteration / _steps,
            _ => Math.Log(iteration + 1) / Math.Log(_steps),
        };
        return _config.MinLearningRate[0] + (_maximum - _config.MinLearningRate[0]) * warmth;
    }
}

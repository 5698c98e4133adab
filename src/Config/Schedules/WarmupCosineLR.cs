namespace DeepSpeedSharp.Config.Schedules;

/// <summary>Raises the learning rate to that of the optimizer, then lowers it along half a cosine.</summary>
/// <remarks>Loshchilov and Hutter, "SGDR: Stochastic Gradient Descent with Warm Restarts", 2017, equation 5.</remarks>
internal sealed class WarmupCosineLR(WarmupCosineParams config, IReadOnlyList<double> groupLearningRates)
    : LearningRateSchedule(groupLearningRates.Count)
{
    private readonly Warmup _warmup = new(config.Steps, config.Type);

    private protected override ScheduleValue ValueOf(long iteration, int group) =>
        new(groupLearningRates[group] * RatioOf(iteration));

    private double RatioOf(long iteration)
    {
        if (iteration < 0)
        {
            return 0; // as in DeepSpeed, whatever the minimum ratio is
        }

        if (iteration < _warmup.Steps)
        {
            return config.MinRatio + (1 - config.MinRatio) * _warmup.At(iteration);
        }

        long steps = Math.Max(1, config.TotalSteps - _warmup.Steps);
        double progress = Math.Min(1, (double)(iteration - _warmup.Steps + 1) / steps);
        double cosine = (1 + Math.Cos(Math.PI * progress)) / 2;
        return Math.Max(0, config.CosineMinRatio + (1 - config.CosineMinRatio) * cosine);
    }
}

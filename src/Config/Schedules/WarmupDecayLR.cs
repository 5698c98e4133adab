namespace DeepSpeedSharp.Config.Schedules;

/// <summary>Raises the learning rate from a minimum to a maximum, then lowers it in a straight line to the minimum.</summary>
internal sealed class WarmupDecayLR : LearningRateSchedule
{
    private readonly Warmup _warmup;
    private readonly long _total;
    private readonly IReadOnlyList<double> _minimum;
    private readonly IReadOnlyList<double> _maximum;

    public WarmupDecayLR(WarmupDecayParams config, GroupValues groups) : base(groups.Count)
    {
        (_warmup, _total) = (new Warmup(config.Steps, config.Type), config.TotalSteps);
        _minimum = groups.Spread(config.MinLearningRate, "warmup_min_lr");
        _maximum = groups.Spread(config.MaxLearningRate, "warmup_max_lr");
    }

    private protected override ScheduleValue ValueOf(long iteration, int group)
    {
        double height = iteration < _warmup.Steps ? _warmup.At(iteration)
            : Math.Max(0, (double)(_total - iteration) / Math.Max(1, _total - _warmup.Steps));
        return new ScheduleValue(_minimum[group] + (_maximum[group] - _minimum[group]) * height);
    }
}

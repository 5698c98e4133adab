namespace DeepSpeedSharp.Config.Schedules;

/// <summary>Raises the learning rate from a minimum to a maximum, and keeps it there.</summary>
internal sealed class WarmupLR : LearningRateSchedule
{
    private readonly Warmup _warmup;
    private readonly IReadOnlyList<double> _minimum;
    private readonly IReadOnlyList<double> _maximum;

    public WarmupLR(WarmupParams config, IReadOnlyList<double> groupLearningRates, GroupValues groups) : base(groups.Count)
    {
        _warmup = new Warmup(config.Steps, config.Type);
        _minimum = groups.Spread(config.MinLearningRate, "warmup_min_lr");
        _maximum = config.MaxLearningRate is { } maximum ? groups.Spread(maximum, "warmup_max_lr") : groupLearningRates;
    }

    private protected override ScheduleValue ValueOf(long iteration, int group) =>
        new(_minimum[group] + (_maximum[group] - _minimum[group]) * _warmup.At(iteration));
}

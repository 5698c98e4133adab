namespace DeepSpeedSharp.Config.Schedules;

/// <summary>Lets the learning rate grow without end, to find the one at which training breaks.</summary>
/// <remarks>Smith, "Cyclical Learning Rates for Training Neural Networks", 2017, section 3.3.</remarks>
internal sealed class LRRangeTest : LearningRateSchedule
{
    private readonly LRRangeTestParams _config;
    private readonly IReadOnlyList<double> _minimum;

    public LRRangeTest(LRRangeTestParams config, GroupValues groups) : base(groups.Count) =>
        (_config, _minimum) = (config, groups.Spread(config.MinLearningRate, "lr_range_test_min_lr"));

    private protected override ScheduleValue ValueOf(long iteration, int group)
    {
        double units = (double)(iteration + 1) / _config.StepSize;
        double growth = _config.StepRate * (_config.Staircase ? Math.Floor(units) : units);
        return new ScheduleValue(_minimum[group] * (1 + growth));
    }
}

namespace DeepSpeedSharp.Config.Schedules;

/// <summary>Raises the learning rate, lowers it again, then lets it decay; the momentum moves the other way.</summary>
/// <remarks>Smith and Topin, "Super-Convergence", 2018, section 3.</remarks>
internal sealed class OneCycle : LearningRateSchedule
{
    private const double SecondBeta = 0.99; // DeepSpeed's, whatever the optimizer's is

    private readonly OneCycleParams _config;
    private readonly long _first;
    private readonly long _second;
    private readonly bool _cyclesMomentum;
    private readonly IReadOnlyList<double> _minimum;
    private readonly IReadOnlyList<double> _maximum;

    public OneCycle(OneCycleParams config, bool hasBetas, GroupValues groups) : base(groups.Count)
    {
        (_config, _first, _second) = (config, config.FirstStepSize, config.SecondStepSize ?? config.FirstStepSize);
        _minimum = groups.Spread(config.MinLearningRate, "cycle_min_lr");
        _maximum = groups.Spread(config.MaxLearningRate, "cycle_max_lr");
        _cyclesMomentum = config.CycleMomentum && hasBetas;
        Warning = config.CycleMomentum && !hasBetas ? "scheduler.params.cycle_momentum: the optimizer has no betas, so "
            + "only the learning rate cycles; set it to false" : null;
    }

    private protected override ScheduleValue ValueOf(long iteration, int group)
    {
        double low = _minimum[group];
        long decaying = iteration - (_first + _second) + 1;
        if (decaying > 0)
        {
            double units = _config.DecayStepSize == 0 ? 0 : (double)decaying / _config.DecayStepSize;
            return With(low / (1 + _config.DecayLearningRate * units),
                _config.MaxMomentum * (1 + _config.DecayMomentumRate * units));
        }

        double height = HeightOf(iteration + 1);
        double momentum = iteration < 0 ? _config.MinMomentum // as DeepSpeed sets it before the first step
            : _config.MaxMomentum - (_config.MaxMomentum - _config.MinMomentum) * height;
        return With(low + (_maximum[group] - low) * height, momentum);
    }

    // From 0 at both ends of the cycle to 1 at its top.
    private double HeightOf(long step)
    {
        long total = _first + _second;
        long place = step % total;
        bool rises = place <= _first;
        int stairs = rises ? _config.FirstStairCount : _config.SecondStairCount ?? _config.FirstStairCount;
        if (stairs > 0)
        {
            double stair = rises ? (double)(place * stairs) / _first : (double)((total - place) * stairs) / _second;
            return Math.Floor(stair) / stairs;
        }

        double x = (double)step / total - Math.Floor((double)step / total);
        double top = (double)_first / total;
        return x <= top ? x / top : (x - 1) / (top - 1);
    }

    private ScheduleValue With(double learningRate, double momentum) =>
        _cyclesMomentum ? new ScheduleValue(learningRate, momentum, SecondBeta) : new ScheduleValue(learningRate);
}

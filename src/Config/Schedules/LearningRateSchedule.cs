namespace DeepSpeedSharp.Config.Schedules;

/// <summary>What a schedule sets for one parameter group.</summary>
/// <param name="LearningRate">The learning rate.</param>
/// <param name="Beta1">First beta, when the schedule cycles the momentum; otherwise null.</param>
/// <param name="Beta2">Second beta, likewise.</param>
public readonly record struct ScheduleValue(double LearningRate, double? Beta1 = null, double? Beta2 = null);

/// <summary>A learning rate as a function of the optimizer step, for every parameter group.</summary>
/// <remarks>
/// Pure arithmetic, so the launcher can draw what the engine will do. The rules are DeepSpeed's: a new schedule stands
/// at iteration -1, and the value of iteration i is in force after step i+1 and for step i+2.
/// </remarks>
public abstract class LearningRateSchedule
{
    private readonly ScheduleValue[] _current;
    private long? _currentIteration;
    private long _lastBatchIteration = -1;

    private protected LearningRateSchedule(int groups) => _current = new ScheduleValue[groups];

    /// <summary>Number of parameter groups.</summary>
    public int GroupCount => _current.Length;

    /// <summary>Steps taken, minus one; -1 before the first. The whole state of a schedule: setting it, as a resumed run
    /// does, puts the value of that iteration in force at once.</summary>
    public long LastBatchIteration
    {
        get => _lastBatchIteration;
        set
        {
            ArgumentOutOfRangeException.ThrowIfLessThan(value, -1);
            _lastBatchIteration = value;
        }
    }

    /// <summary>What is in force now, one value per group. The same list each time, changed by the next step.</summary>
    public IReadOnlyList<ScheduleValue> Current
    {
        get
        {
            if (_currentIteration != _lastBatchIteration)
            {
                Fill(_current, _lastBatchIteration);
                _currentIteration = _lastBatchIteration;
            }

            return _current;
        }
    }

    /// <summary>What to know about a setting that has no effect here; null when there is nothing.</summary>
    public string? Warning { get; private protected init; }

    /// <summary>Moves on by one optimizer step; not called for a step that was skipped.</summary>
    public void Step() => LastBatchIteration++;

    /// <summary>The values of an iteration.</summary>
    /// <param name="iteration">Steps taken, minus one; at least -1.</param>
    /// <returns>One value per group.</returns>
    public IReadOnlyList<ScheduleValue> At(long iteration)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(iteration, -1);
        var values = new ScheduleValue[GroupCount];
        Fill(values, iteration);
        return values;
    }

    /// <summary>Makes the schedule that a config names.</summary>
    /// <param name="config">The <c>scheduler</c> section.</param>
    /// <param name="groupLearningRates">The optimizer's learning rate of each group, at least one.</param>
    /// <param name="hasBetas">Whether the optimizer has betas; OneCycle cycles the first one as the momentum.</param>
    /// <returns>The schedule, before its first step.</returns>
    /// <exception cref="ConfigException">A list has neither one value nor one per group.</exception>
    public static LearningRateSchedule Create(
        ScheduleConfig config, IReadOnlyList<double> groupLearningRates, bool hasBetas)
    {
        ArgumentOutOfRangeException.ThrowIfZero(groupLearningRates.Count);
        var errors = new ConfigErrors();
        LearningRateSchedule schedule = Create(config, groupLearningRates, hasBetas, errors);
        errors.ThrowIfAny("the DeepSpeed config");
        return schedule;
    }

    internal static LearningRateSchedule Create(
        ScheduleConfig config, IReadOnlyList<double> groupLearningRates, bool hasBetas, ConfigErrors errors)
    {
        var groups = new GroupValues(groupLearningRates.Count, errors);
        return config.Params switch
        {
            WarmupParams p => new WarmupLR(p, groupLearningRates, groups),
            WarmupDecayParams p => new WarmupDecayLR(p, groups),
            WarmupCosineParams p => new WarmupCosineLR(p, groupLearningRates),
            OneCycleParams p => new OneCycle(p, hasBetas, groups),
            LRRangeTestParams p => new LRRangeTest(p, groups),
            _ => throw new ArgumentException($"there is no schedule for {config.Params.GetType().Name}", nameof(config)),
        };
    }

    private protected abstract ScheduleValue ValueOf(long iteration, int group);

    private void Fill(ScheduleValue[] values, long iteration)
    {
        for (int group = 0; group < values.Length; group++)
        {
            values[group] = ValueOf(iteration, group);
        }
    }
}

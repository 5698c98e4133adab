namespace DeepSpeedSharp.Operator.Tests.FakeCluster;

/// <summary>The clock of one process. It stands still while the process is stopped, and its time of day may be wrong.</summary>
/// <remarks>When a stopped process goes on it sees the new time at once, but its timers have yet to notice: in between,
/// whatever it was about to do goes on.</remarks>
internal sealed class ProcessClock(DateTimeOffset start) : TimeProvider
{
    private readonly Lock _lock = new();
    private readonly List<Timer> _timers = [];
    private long _ticks;
    private long _owed;

    // Earlier ones, and until when they were.
    private readonly List<(TimeSpan Error, long Until)> _errors = [];

    /// <summary>Whether the process is stopped.</summary>
    public bool IsStopped { get; private set; }

    /// <summary>How wrong the time of day is; what measures durations does not notice.</summary>
    public TimeSpan Error
    {
        get;
        set
        {
            lock (_lock)
            {
                if (value == field)
                {
                    return;
                }

                _errors.Add((field, GetTimestamp()));
                field = value;
            }
        }
    }

    /// <summary>The latest time of day that a pass which is still at work can have seen.</summary>
    /// <param name="longestPass">How long a pass may take.</param>
    public DateTimeOffset LatestSeen(TimeSpan longestPass)
    {
        lock (_lock)
        {
            _errors.RemoveAll(e => GetTimestamp() - e.Until > longestPass.Ticks);
            return start + new TimeSpan(GetTimestamp()) + _errors.Select(e => e.Error).Append(Error).Max();
        }
    }

    /// <summary>Lets time pass; a stopped process notices it later, all at once.</summary>
    public void Advance(TimeSpan time)
    {
        if (IsStopped)
        {
            _owed += time.Ticks;
            return;
        }

        Interlocked.Add(ref _ticks, time.Ticks);
        Fire();
    }

    /// <summary>Stops the process.</summary>
    public void Stop() => IsStopped = true;

    /// <summary>Shows the process what time it is; its timers are told with the next <see cref="Advance"/>.</summary>
    public void Continue()
    {
        IsStopped = false;
        lock (_lock)
        {
            // A pass that was at work when the process was stopped is at work still.
            _errors.AddRange([.. _errors.Select(e => (e.Error, e.Until + _owed))]);
            Interlocked.Add(ref _ticks, _owed);
        }

        _owed = 0;
    }

    /// <inheritdoc/>
    public override DateTimeOffset GetUtcNow() => start + new TimeSpan(GetTimestamp()) + Error;

    /// <inheritdoc/>
    public override long GetTimestamp() => Interlocked.Read(ref _ticks);

    /// <inheritdoc/>
    public override long TimestampFrequency => TimeSpan.TicksPerSecond;

    /// <inheritdoc/>
    public override ITimer CreateTimer(TimerCallback callback, object? state, TimeSpan dueTime, TimeSpan period)
    {
        var timer = new Timer(this, callback, state);
        timer.Change(dueTime, period);
        return timer;
    }

    private void Fire()
    {
        while (true)
        {
            Timer? due;
            lock (_lock)
            {
                due = _timers.Where(t => t.Due <= _ticks).MinBy(t => t.Due);
                if (due is null)
                {
                    return;
                }

                due.Due += due.Period;
                if (due.Period is null)
                {
                    _timers.Remove(due);
                }
            }

            due.Callback(due.State);
        }
    }

    private sealed class Timer(ProcessClock clock, TimerCallback callback, object? state) : ITimer
    {
        public TimerCallback Callback { get; } = callback;

        public object? State { get; } = state;

        public long? Due { get; set; }

        public long? Period { get; private set; }

        public bool Change(TimeSpan dueTime, TimeSpan period)
        {
            lock (clock._lock)
            {
                clock._timers.Remove(this);
                Period = period > TimeSpan.Zero ? period.Ticks : null;
                Due = dueTime >= TimeSpan.Zero ? clock.GetTimestamp() + dueTime.Ticks : null;
                if (Due is not null)
                {
                    clock._timers.Add(this);
                }

                return true;
            }
        }

        public void Dispose() => Change(Timeout.InfiniteTimeSpan, Timeout.InfiniteTimeSpan);

        public ValueTask DisposeAsync()
        {
            Dispose();
            return ValueTask.CompletedTask;
        }
    }
}

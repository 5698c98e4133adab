namespace DeepSpeedSharp.Operator.Runtime;

/// <summary>Keys that wait for a pass. A key waits at most once and is never handed out twice at a time.</summary>
/// <remarks>A key added while its pass runs is handed out again after <see cref="Done"/>, so no change is missed.</remarks>
/// <typeparam name="TKey">Names an object.</typeparam>
/// <param name="time">Clock of the delayed adds.</param>
/// <param name="firstRetry">Wait before the first retry; each further one is twice as long.</param>
/// <param name="longestRetry">Longest wait before a retry.</param>
internal sealed class WorkQueue<TKey>(TimeProvider time, TimeSpan firstRetry, TimeSpan longestRetry) : IDisposable
    where TKey : notnull
{
    private readonly Lock _lock = new();
    private readonly Queue<TKey> _ready = new();
    private readonly HashSet<TKey> _waiting = [];
    private readonly Dictionary<TKey, long> _addedAt = [];
    private readonly Dictionary<TKey, long> _running = [];
    private readonly Dictionary<TKey, int> _failures = [];
    private readonly Dictionary<TKey, (TimeSpan Due, ITimer Timer)> _delayed = [];
    private readonly SemaphoreSlim _available = new(0);
    private bool _disposed;

    /// <summary>Told of adds, retries and waits; null for none.</summary>
    public RuntimeMetrics? Metrics { get; init; }

    /// <summary>Keys that could be handed out now, the time of all running passes, and that of the longest.</summary>
    public (int Depth, TimeSpan All, TimeSpan Longest) Load()
    {
        lock (_lock)
        {
            TimeSpan[] times = [.. _running.Values.Select(begin => time.GetElapsedTime(begin))];
            return (_ready.Count, new TimeSpan(times.Sum(t => t.Ticks)), times.Length == 0 ? TimeSpan.Zero : times.Max());
        }
    }

    /// <summary>Keys that could be handed out now.</summary>
    public int Count
    {
        get
        {
            lock (_lock)
            {
                return _ready.Count;
            }
        }
    }

    /// <summary>Whether no key waits for a pass or has one; delayed keys do not count.</summary>
    public bool IsIdle
    {
        get
        {
            lock (_lock)
            {
                return _ready.Count == 0 && _waiting.Count == 0 && _running.Count == 0;
            }
        }
    }

    /// <summary>Adds a key, unless it already waits.</summary>
    public void Add(TKey key)
    {
        lock (_lock)
        {
            if (_disposed || !_waiting.Add(key))
            {
                return;
            }

            Metrics?.Added();
            _addedAt[key] = time.GetTimestamp();
            if (_running.ContainsKey(key))
            {
                return;
            }

            _ready.Enqueue(key);
            _available.Release();
        }
    }

    /// <summary>Adds a key after a while. Of several delays of one key the shortest counts.</summary>
    public void AddAfter(TKey key, TimeSpan delay)
    {
        if (delay <= TimeSpan.Zero)
        {
            Add(key);
            return;
        }

        lock (_lock)
        {
            // Not by the time of day, which may be set: then a delay from before would hold up all later ones.
            TimeSpan due = time.GetElapsedTime(0) + delay;
            if (_disposed || (_delayed.TryGetValue(key, out (TimeSpan Due, ITimer Timer) other) && other.Due <= due))
            {
                return;
            }

            other.Timer?.Dispose();
            _delayed[key] = (due, time.CreateTimer(_ => Elapsed(key, due), null, delay, Timeout.InfiniteTimeSpan));
        }
    }

    /// <summary>Adds a key after a wait that doubles with each call since <see cref="Forget"/>.</summary>
    /// <returns>The wait.</returns>
    public TimeSpan AddRateLimited(TKey key)
    {
        int failures;
        lock (_lock)
        {
            failures = _failures.GetValueOrDefault(key);
            _failures[key] = failures + 1;
        }

        Metrics?.Retried();
        TimeSpan wait = firstRetry * Math.Pow(2, Math.Min(failures, 30));
        wait = wait < longestRetry ? wait : longestRetry;
        AddAfter(key, wait);
        return wait;
    }

    /// <summary>Ends the row of failures of a key.</summary>
    public void Forget(TKey key)
    {
        lock (_lock)
        {
            _failures.Remove(key);
        }
    }

    /// <summary>Waits for a key. The caller makes its pass and then calls <see cref="Done"/>.</summary>
    public async Task<TKey> TakeAsync(CancellationToken cancel)
    {
        await _available.WaitAsync(cancel);
        lock (_lock)
        {
            TKey key = _ready.Dequeue();
            _waiting.Remove(key);
            _running[key] = time.GetTimestamp();
            Metrics?.Began(_addedAt.Remove(key, out long added) ? time.GetElapsedTime(added) : TimeSpan.Zero);
            return key;
        }
    }

    /// <summary>Says that the pass of a key is over.</summary>
    public void Done(TKey key)
    {
        lock (_lock)
        {
            _running.Remove(key);
            if (!_disposed && _waiting.Contains(key))
            {
                _ready.Enqueue(key);
                _available.Release();
            }
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        lock (_lock)
        {
            _disposed = true;
            foreach ((_, ITimer timer) in _delayed.Values)
            {
                timer.Dispose();
            }

            _delayed.Clear();
        }
    }

    private void Elapsed(TKey key, TimeSpan due)
    {
        lock (_lock)
        {
            // A shorter delay may have replaced this one while its timer was about to fire.
            if (!_delayed.TryGetValue(key, out (TimeSpan Due, ITimer Timer) entry) || entry.Due != due)
            {
                return;
            }

            entry.Timer.Dispose();
            _delayed.Remove(key);
        }

        Add(key);
    }
}

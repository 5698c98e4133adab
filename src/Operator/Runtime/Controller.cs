namespace DeepSpeedSharp.Operator.Runtime;

/// <summary>Runs the passes of a kind: events become keys, keys become passes, failed passes are retried.</summary>
/// <typeparam name="T">The kind of object.</typeparam>
internal sealed class Controller<T> : IDisposable
    where T : class
{
    private static readonly TimeSpan LongestPass = TimeSpan.FromMinutes(2);
    private static readonly TimeSpan Farewell = TimeSpan.FromSeconds(20);

    private readonly ObjectCache<T> _objects;
    private readonly Func<T, string> _keyOf;
    private readonly RuntimeMetrics _metrics;
    private readonly TimeProvider _time;
    private readonly ILogger _log;

    /// <summary>Creates a controller that makes a pass whenever an object of its kind changes.</summary>
    /// <param name="objects">The objects.</param>
    /// <param name="keyOf">Key of an object in that cache.</param>
    /// <param name="matters">Whether a change needs a pass; our own status writes should not.</param>
    /// <param name="metrics">Metrics.</param>
    /// <param name="time">Clock.</param>
    /// <param name="log">Log.</param>
    public Controller(ObjectCache<T> objects, Func<T, string> keyOf, Func<T, T, bool> matters,
        RuntimeMetrics metrics, TimeProvider time, ILogger log)
    {
        (_objects, _keyOf, _metrics, _time, _log) = (objects, keyOf, metrics, time, log);
        Queue = new WorkQueue<string>(time, TimeSpan.FromMilliseconds(100), TimeSpan.FromSeconds(30)) { Metrics = metrics };
        objects.Changed += (before, after) =>
        {
            if (before is null || after is null || matters(before, after))
            {
                Queue.Add(keyOf((after ?? before)!));
            }
        };
    }

    /// <summary>Time after which every object gets a pass without an event.</summary>
    public TimeSpan Resync { get; init; } = TimeSpan.FromMinutes(10);

    /// <summary>Keys that wait for a pass.</summary>
    public WorkQueue<string> Queue { get; }

    /// <summary>Also makes passes when an owned object changes.</summary>
    /// <typeparam name="TChild">Kind of the owned objects.</typeparam>
    /// <param name="children">The owned objects.</param>
    /// <param name="ownerOf">Key of the owner of one, or null when it has none of our kind.</param>
    public Controller<T> Owns<TChild>(ObjectCache<TChild> children, Func<TChild, string?> ownerOf)
        where TChild : class
    {
        children.Changed += (before, after) =>
        {
            // Much that happens to an object does not touch what is kept of it, our own write seen again for one.
            if (before is not null && before.Equals(after))
            {
                return;
            }

            foreach (string key in new[] { before, after }.OfType<TChild>().Select(ownerOf).OfType<string>().Distinct())
            {
                Queue.Add(key);
            }
        };
        return this;
    }

    /// <summary>Also makes passes when an object changes that several objects of our kind depend on.</summary>
    /// <typeparam name="TOther">Kind of that object.</typeparam>
    /// <param name="others">Those objects.</param>
    /// <param name="matters">Whether a change needs passes.</param>
    /// <param name="dependents">Keys of the objects that depend on one.</param>
    public Controller<T> Watches<TOther>(
        ObjectCache<TOther> others, Func<TOther, TOther, bool> matters, Func<TOther, IEnumerable<string>> dependents)
        where TOther : class
    {
        others.Changed += (before, after) =>
        {
            if (before is null || after is null || matters(before, after))
            {
                foreach (string key in dependents((after ?? before)!).Distinct())
                {
                    Queue.Add(key);
                }
            }
        };
        return this;
    }

    /// <summary>Makes passes until told to stop, then lets those that run come to their end.</summary>
    /// <param name="reconciler">Makes a pass.</param>
    /// <param name="workers">Passes at a time, of different objects.</param>
    /// <param name="stop">Ends the taking of keys at once, and running passes after a while.</param>
    /// <param name="abort">Ends running passes at once.</param>
    public async Task RunAsync(IEntityController<T> reconciler, int workers, CancellationToken stop, CancellationToken abort = default)
    {
        using var end = new CancellationTokenSource(Timeout.InfiniteTimeSpan, _time);
        await using CancellationTokenRegistration now = abort.Register(end.Cancel);
        _metrics.Workers(workers);
        await using CancellationTokenRegistration registration = stop.Register(() => end.CancelAfter(Farewell));
        using ITimer resync = _time.CreateTimer(_ => AddAll(), null, Resync, Resync);
        await Task.WhenAll(Enumerable.Range(0, workers).Select(_ => WorkAsync(reconciler, stop, end.Token)));
    }

    /// <inheritdoc/>
    public void Dispose() => Queue.Dispose();

    private void AddAll()
    {
        foreach (T entity in _objects.All())
        {
            Queue.Add(_keyOf(entity));
        }
    }

    private async Task WorkAsync(IEntityController<T> reconciler, CancellationToken stop, CancellationToken end)
    {
        while (!stop.IsCancellationRequested)
        {
            string key;
            try
            {
                key = await Queue.TakeAsync(stop);
            }
            catch (OperationCanceledException)
            {
                return;
            }

            long begin = _time.GetTimestamp();
            (string result, bool timedOut, bool unforeseen) = await PassAsync(reconciler, key, end);
            Queue.Done(key);
            _metrics.Reconciled(result, _time.GetElapsedTime(begin), timedOut, unforeseen);
        }
    }

    private async Task<(string Result, bool TimedOut, bool Unforeseen)> PassAsync(
        IEntityController<T> reconciler, string key, CancellationToken end)
    {
        using var limit = new CancellationTokenSource(LongestPass, _time);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(end, limit.Token);
        try
        {
            if (_objects.Get(key) is not { } entity)
            {
                await reconciler.DeletedAsync(key, either.Token);
                Queue.Forget(key);
                return ("success", false, false);
            }

            ReconcileResult result = await reconciler.ReconcileAsync(entity, either.Token);
            Queue.Forget(key);
            if (result.After is { } after)
            {
                Queue.AddAfter(key, after);
                return ("requeue_after", false, false);
            }

            return ("success", false, false);
        }
        catch (ApiException e) when (e.IsConflict)
        {
            // Somebody else wrote first; the watch brings the new state.
            Queue.AddRateLimited(key);
            return ("requeue", false, false);
        }
        catch (Exception e) when (!end.IsCancellationRequested)
        {
            TimeSpan wait = Queue.AddRateLimited(key);
            bool timedOut = limit.IsCancellationRequested;
            bool foreseen = timedOut || e is ApiException or HttpRequestException or IOException or TimeoutException or LeadershipLostException;
            Log.PassFailed(_log, key, wait.TotalSeconds, foreseen ? null : e, e.Message);
            return ("error", timedOut, !foreseen);
        }
        catch (Exception) when (end.IsCancellationRequested)
        {
            return ("error", false, false);
        }
    }
}

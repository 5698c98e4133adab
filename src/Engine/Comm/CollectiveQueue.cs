namespace DeepSpeedSharp.Engine.Comm;

/// <summary>Runs one thing after the other, in the order in which they were started: on a thread of its own, or on the calling
/// thread when that one waits anyway and nothing is before it.</summary>
/// <param name="name">Of the thread, for debuggers.</param>
internal sealed class CollectiveQueue(string name) : IDisposable
{
    private readonly object _lock = new();
    private readonly Queue<(Action Action, TaskCompletionSource Done)> _waiting = new();
    private Thread? _thread;
    private bool _busy;
    private bool _closed;

    /// <summary>Runs something and returns when it has ended.</summary>
    public void Run(Action action)
    {
        Task? queued = null;
        lock (_lock)
        {
            ObjectDisposedException.ThrowIf(_closed, this);
            if (_busy || _waiting.Count > 0)
            {
                queued = Enqueue(action);
            }
            else
            {
                _busy = true;
            }
        }

        if (queued is not null)
        {
            queued.GetAwaiter().GetResult();
            return;
        }

        try
        {
            action();
        }
        finally
        {
            lock (_lock)
            {
                _busy = false;
                Monitor.PulseAll(_lock);
            }
        }
    }

    /// <summary>Starts something.</summary>
    /// <returns>Ends with it.</returns>
    public Task Start(Action action)
    {
        lock (_lock)
        {
            ObjectDisposedException.ThrowIf(_closed, this);
            return Enqueue(action);
        }
    }

    /// <summary>Waits for what runs, and ends; what still waits fails.</summary>
    public void Dispose()
    {
        lock (_lock)
        {
            _closed = true;
            Monitor.PulseAll(_lock);
            while (_busy)
            {
                Monitor.Wait(_lock);
            }
        }

        _thread?.Join();
        foreach ((Action _, TaskCompletionSource done) in _waiting)
        {
            done.TrySetException(new ObjectDisposedException(nameof(ProcessGroup)));
        }
    }

    private Task Enqueue(Action action)
    {
        var done = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        _waiting.Enqueue((action, done));
        if (_thread is null)
        {
            _thread = new Thread(RunAll) { IsBackground = true, Name = name };
            _thread.Start();
        }

        Monitor.PulseAll(_lock);
        return done.Task;
    }

    private void RunAll()
    {
        while (true)
        {
            (Action action, TaskCompletionSource done) next;
            lock (_lock)
            {
                while (!_closed && (_busy || _waiting.Count == 0))
                {
                    Monitor.Wait(_lock);
                }

                if (_closed)
                {
                    return;
                }

                next = _waiting.Dequeue();
                _busy = true;
            }

            Exception? error = null;
            try
            {
                next.action();
            }
#pragma warning disable CA1031 // whatever it is, the caller gets it
            catch (Exception e)
#pragma warning restore CA1031
            {
                error = e;
            }

            lock (_lock)
            {
                _busy = false;
                Monitor.PulseAll(_lock);
            }

            _ = error is null ? next.done.TrySetResult() : next.done.TrySetException(error);
        }
    }
}

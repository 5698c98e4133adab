using System.Runtime.ExceptionServices;

namespace DeepSpeedSharp.Engine.Optim;

/// <summary>Runs a function over numbered blocks on the calling thread and on pool threads, without garbage.</summary>
/// <remarks>Whoever is free takes the next block, so a core that does something else delays nobody. A pool thread that
/// comes too late finds the loop closed; the caller never waits for one that has not begun.</remarks>
internal sealed class BlockLoop : IThreadPoolWorkItem
{
    private readonly Action<long> _body;
    private readonly int _helpers;
    private readonly object _gate = new(); // waited on, which the newer Lock cannot
    private long _next;
    private long _count;
    private int _inside;
    private bool _isOpen;
    private Exception? _failure;

    /// <param name="body">Does a block; called by several threads at once.</param>
    /// <param name="threads">How many threads work, the caller among them.</param>
    public BlockLoop(Action<long> body, int threads) => (_body, _helpers) = (body, threads - 1);

    /// <summary>Does blocks 0 to <paramref name="count"/> - 1 and returns when all are done. One call at a time.</summary>
    public void Run(long count)
    {
        long helpers = Math.Min(_helpers, count - 1);
        (_next, _count, _failure) = (0, count, null);
        lock (_gate)
        {
            _isOpen = helpers > 0;
        }

        for (long i = 0; i < helpers; i++)
        {
            ThreadPool.UnsafeQueueUserWorkItem(this, preferLocal: false);
        }

        Work();
        lock (_gate)
        {
            _isOpen = false;
            while (_inside > 0)
            {
                Monitor.Wait(_gate);
            }
        }

        if (_failure is { } failure)
        {
            ExceptionDispatchInfo.Throw(failure);
        }
    }

    void IThreadPoolWorkItem.Execute()
    {
        lock (_gate)
        {
            if (!_isOpen)
            {
                return;
            }

            _inside++;
        }

        Work();
        lock (_gate)
        {
            if (--_inside == 0)
            {
                Monitor.Pulse(_gate);
            }
        }
    }

    private void Work()
    {
        try
        {
            for (long block; (block = Interlocked.Increment(ref _next) - 1) < _count;)
            {
                _body(block);
            }
        }
        catch (Exception e) // kept for the caller: on a pool thread it would end the process
        {
            _failure = e;
            Interlocked.Exchange(ref _next, _count);
        }
    }
}

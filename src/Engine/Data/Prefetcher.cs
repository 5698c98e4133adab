using System.Runtime.ExceptionServices;

namespace DeepSpeedSharp.Engine.Data;

/// <summary>Reads the next batch on a thread of its own while the caller trains on the current one.</summary>
/// <remarks>
/// One batch ahead, never more, so memory is bounded. The thread only works between a request and its answer; all
/// fields are handed over by the two semaphores, and nothing is read at the same time.
/// </remarks>
/// <param name="read">Reads the batch of a number; called on the thread.</param>
internal sealed class Prefetcher<TBatch>(Func<long, TBatch> read) : IDisposable
{
    private readonly SemaphoreSlim _asked = new(0);
    private readonly SemaphoreSlim _answered = new(0);
    private Thread? _thread;
    private long? _pending;
    private TBatch? _batch;
    private ExceptionDispatchInfo? _error;
    private bool _ends;

    /// <summary>Gives a batch and starts reading the one after it.</summary>
    /// <param name="position">Number of the batch.</param>
    /// <returns>The batch.</returns>
    /// <remarks>What reading the batch threw is thrown here, and only when that batch is asked for.</remarks>
    public TBatch Take(long position)
    {
        ObjectDisposedException.ThrowIf(_ends, this);
        if (_pending != position)
        {
            Discard();
            Ask(position);
        }

        TBatch batch = Answer();
        Ask(position + 1);
        return batch;
    }

    /// <summary>Ends the thread, after the batch it may be reading, and disposes that batch.</summary>
    public void Dispose()
    {
        if (_ends)
        {
            return;
        }

        Discard();
        _ends = true;
        if (_thread is not null)
        {
            _asked.Release();
            _thread.Join();
        }

        _asked.Dispose();
        _answered.Dispose();
    }

    private void Ask(long position)
    {
        if (_thread is null)
        {
            // One thread for all batches: libtorch keeps its own worker threads for each thread that calls it.
            _thread = new Thread(Run) { IsBackground = true, Name = "data prefetch" };
            _thread.Start();
        }

        _pending = position;
        _asked.Release();
    }

    private TBatch Answer()
    {
        _answered.Wait();
        _pending = null;
        (TBatch? batch, ExceptionDispatchInfo? error) = (_batch, _error);
        (_batch, _error) = (default, null);
        error?.Throw();
        return batch!;
    }

    // The reader was moved, or is done: what was read ahead goes, and so does its error.
    private void Discard()
    {
        if (_pending is not null)
        {
            _answered.Wait();
            _pending = null;
            BatchTensors.Dispose(_batch);
            (_batch, _error) = (default, null);
        }
    }

    private void Run()
    {
        while (true)
        {
            _asked.Wait();
            if (_ends)
            {
                return;
            }

            try
            {
                _batch = read(_pending!.Value);
            }
#pragma warning disable CA1031 // thrown again on the caller's thread
            catch (Exception e)
#pragma warning restore CA1031
            {
                _error = ExceptionDispatchInfo.Capture(e);
            }

            _answered.Release();
        }
    }
}

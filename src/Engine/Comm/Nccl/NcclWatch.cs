using System.Diagnostics;
using System.Runtime.ExceptionServices;
using DeepSpeedSharp.Engine.Native;

namespace DeepSpeedSharp.Engine.Comm.Nccl;

/// <summary>The collectives of a communicator that are under way, and a thread that follows them to their end.</summary>
/// <remarks>It completes their tasks, frees what they held, and gives the communicator up when NCCL reports an error, when one
/// takes longer than the timeout, or when a rank is lost.</remarks>
internal sealed class NcclWatch : IDisposable
{
    private static readonly TimeSpan Pause = TimeSpan.FromMilliseconds(1);
    private static readonly TimeSpan IdlePause = TimeSpan.FromMilliseconds(200);
    private static readonly TimeSpan ErrorPeriod = TimeSpan.FromMilliseconds(100);
    private static readonly TimeSpan DrainTimeout = TimeSpan.FromSeconds(5);

    private readonly NcclCommunicator _communicator;
    private readonly TimeSpan _timeout;
    private readonly Func<PeerLostException, PeerLostException> _report;
    private readonly Lock _order = new();
    private readonly Queue<QueuedCollective> _running = [];
    private readonly Stack<QueuedCollective> _spare = [];
    private readonly SemaphoreSlim _news = new(0);
    private readonly Thread _thread;
    private volatile bool _ending;
    private int _launching; // given to the launcher, and not launched yet

    /// <param name="communicator">Whose collectives these are; disposed with the watch.</param>
    /// <param name="timeout">How long a collective may take once the GPU has come to it.</param>
    /// <param name="report">Is told what went wrong first, and may know better which rank is at fault.</param>
    public NcclWatch(NcclCommunicator communicator, TimeSpan timeout, Func<PeerLostException, PeerLostException> report)
    {
        (_communicator, _timeout, _report) = (communicator, timeout, report);
        _thread = new Thread(Follow) { IsBackground = true, Name = "nccl watch" };
        _thread.Start();
    }

    /// <summary>Starts a collective behind what the current stream has queued.</summary>
    /// <param name="operation">Its name, for messages.</param>
    /// <param name="tensors">What it reads and writes; kept alive until it has ended.</param>
    /// <param name="start">As for <see cref="NcclCommunicator.Run"/>.</param>
    /// <param name="ended">Called when it has ended well.</param>
    /// <returns>Its handle; waiting orders the current stream behind it.</returns>
    /// <exception cref="PeerLostException">A rank is lost.</exception>
    public Work Start(string operation, ReadOnlySpan<Tensor> tensors, Func<NcclLibrary, nint, nint, int> start, Action? ended = null)
    {
        lock (_order)
        {
            _communicator.ThrowIfFailed();
            using CudaDevice.Scope device = CudaDevice.Use(_communicator.Device);
            QueuedCollective collective = _spare.TryPop(out QueuedCollective? used) ? used : new QueuedCollective();
            collective.Ready.Record(CudaStream.Current(_communicator.Device));
            collective.Begin(operation, tensors, ended);
            _running.Enqueue(collective);
            if (_running.Count == 1)
            {
                _news.Release();
            }

            QueuedCollective.Turn turn = collective.Current;
            Interlocked.Increment(ref _launching);
            NcclLauncher.Post(() => Launch(turn, operation, start));
            return new Work(turn.Completion.Task, () => HoldBack(turn));
        }
    }

    /// <summary>Gives the communicator up: what is under way ends, and fails with this.</summary>
    public void Fail(PeerLostException reason)
    {
        _communicator.Fail(reason);
        _news.Release();
    }

    public void Dispose()
    {
        long start = Stopwatch.GetTimestamp();
        while (_communicator.Failure is null && HasRunning() && Stopwatch.GetElapsedTime(start) < _timeout)
        {
            _ = _news.Wait(Pause);
        }

        _ending = true;
        _news.Release();
        _thread.Join();
        _communicator.Dispose();
        foreach (QueuedCollective collective in _spare)
        {
            collective.Dispose();
        }

        _news.Dispose();
    }

    private bool HasRunning()
    {
        lock (_order)
        {
            return _running.Count > 0;
        }
    }

    // On the launcher's thread.
    private void Launch(QueuedCollective.Turn turn, string operation, Func<NcclLibrary, nint, nint, int> start)
    {
        try
        {
            CudaDevice.Set(_communicator.Device);
            nint stream = _communicator.Stream.Handle;
            turn.Place.Ready.HoldBack(stream);
            _communicator.Run(operation, start);
            turn.Place.Done.Record(stream);
        }
        catch (PeerLostException e)
        {
            // The connection may have broken here first; what was under way can never end.
            _communicator.Fail(_communicator.Failure ?? _report(e));
        }
#pragma warning disable CA1031 // the thread serves all groups; who waits for the collective throws it
        catch (Exception e)
#pragma warning restore CA1031
        {
            turn.Refusal = e;
        }
        finally
        {
            turn.IsLaunched = true;
            Interlocked.Decrement(ref _launching);
        }
    }

    // Ends: launching has a timeout of its own, and what is given up fails at once.
    private static void AwaitLaunch(QueuedCollective.Turn turn)
    {
        var wait = new ShortWait();
        while (!turn.IsLaunched)
        {
            wait.Pause();
        }
    }

    private void HoldBack(QueuedCollective.Turn turn)
    {
        AwaitLaunch(turn);
        _communicator.ThrowIfFailed();
        if (turn.Refusal is { } refusal)
        {
            ExceptionDispatchInfo.Throw(refusal);
        }

        lock (_order)
        {
            // Its event serves another collective once it has ended, and then there is nothing to wait for.
            if (!turn.HasEnded)
            {
                using CudaDevice.Scope device = CudaDevice.Use(_communicator.Device);
                turn.Place.Done.HoldBack(CudaStream.Current(_communicator.Device));
            }
        }
    }

    private void Follow()
    {
        CudaDevice.Set(_communicator.Device);
        long lastCheck = Stopwatch.GetTimestamp();
        while (!_ending)
        {
            _ = _news.Wait(HasRunning() ? Pause : IdlePause);
            if (_communicator.Failure is null && Stopwatch.GetElapsedTime(lastCheck) > ErrorPeriod)
            {
                lastCheck = Stopwatch.GetTimestamp();
                if (Problem() is { } problem)
                {
                    _communicator.Fail(_report(problem));
                }
            }

            if (_communicator.Failure is { } failure)
            {
                FailAll(failure);
                return;
            }

            EndDone();
        }

        FailAll(new PeerLostException(-1, "the process group was disposed while a collective was under way"));
    }

    private PeerLostException? Problem()
    {
        if (_communicator.AsyncError() is { } error)
        {
            return new PeerLostException(-1, $"NCCL, rank {_communicator.Rank} of {_communicator.WorldSize}: {error}; look at the other "
                + $"ranks' logs. See docs/communication.md#nccl.{NcclEnvironment.Sentence()}");
        }

        lock (_order)
        {
            if (!_running.TryPeek(out QueuedCollective? oldest) || oldest.Running() is not { } time || time < _timeout)
            {
                return null;
            }

            return new PeerLostException(-1, $"{oldest.Operation}, rank {_communicator.Rank} of {_communicator.WorldSize}: NCCL has not ended "
                + $"it within {time.TotalSeconds:0} s: another rank has not come to it, or hangs; look at the other ranks' logs, or raise "
                + "DEEPSPEED_TIMEOUT (minutes). See docs/communication.md#nccl.");
        }
    }

    // Collectives end in the order of their stream.
    private void EndDone()
    {
        while (true)
        {
            QueuedCollective.Turn turn;
            lock (_order)
            {
                if (!_running.TryPeek(out QueuedCollective? oldest) || !oldest.Current.IsLaunched
                    || (oldest.Current.Refusal is null && !oldest.Done.IsDone))
                {
                    return;
                }

                _ = _running.Dequeue();
                turn = oldest.End();
                _spare.Push(oldest);
            }

            if (turn.Refusal is { } refusal)
            {
                turn.Fault(refusal);
                continue;
            }

            turn.Ended?.Invoke();
            turn.Completion.TrySetResult();
        }
    }

    private void FailAll(PeerLostException failure)
    {
        // An abort ends what runs; memory must not be freed before.
        long start = Stopwatch.GetTimestamp();
        while (!IsDrained() && Stopwatch.GetElapsedTime(start) < DrainTimeout)
        {
            _ = _news.Wait(Pause);
        }

        bool isDrained = IsDrained();
        while (true)
        {
            QueuedCollective.Turn turn;
            lock (_order)
            {
                if (!_running.TryDequeue(out QueuedCollective? collective))
                {
                    return;
                }

                turn = collective.End(keepTensors: !isDrained);
                _spare.Push(collective);
            }

            turn.Fault(failure);
        }

        bool IsDrained() => Volatile.Read(ref _launching) == 0 && _communicator.Stream.IsDone;
    }
}

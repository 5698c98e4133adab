namespace DeepSpeedSharp.Engine.Checkpoint;

/// <summary>A checkpoint that is being written by a thread of its own while training goes on.</summary>
/// <remarks>
/// No collective runs here. Every rank writes its files and then a marker beside them (<see cref="RankMarker"/>); the first
/// one waits for all markers and completes the checkpoint, so <c>latest</c> never names one of which a file is missing.
/// How it went is told at the next call of all ranks.
/// </remarks>
internal sealed class WriteBehind : IDisposable
{
    /// <summary>How long the first rank waits while nothing changes; DeepSpeed's limit for its decoupled writer.</summary>
    private static readonly TimeSpan Patience = TimeSpan.FromMinutes(5);

    private static readonly TimeSpan ExitPatience = TimeSpan.FromSeconds(30);

    private readonly CancellationTokenSource _giveUp = new();
    private readonly TaskCompletionSource _done = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly EventHandler _onExit;

    /// <param name="request">What to save, over copies that nobody changes.</param>
    /// <param name="rank">This rank.</param>
    /// <param name="worldSize">Number of ranks.</param>
    /// <param name="pace">How to write.</param>
    /// <param name="report">Is told when the checkpoint is complete, on the first rank.</param>
    /// <param name="warn">Shows a warning, on the first rank.</param>
    public WriteBehind(SaveRequest request, int rank, int worldSize, WritePace pace,
        Action<SaveRequest, IReadOnlyList<RankPart>, TimeSpan> report, Action<string> warn)
    {
        Request = request;
        // A program that ends, by itself or by SIGTERM, has half a minute for the rest.
        _onExit = (_, _) => WaitQuietly(ExitPatience);
        AppDomain.CurrentDomain.ProcessExit += _onExit;
        new Thread(() => Run(rank, worldSize, pace, report, warn)) { IsBackground = true, Name = "checkpoint" }.Start();
    }

    /// <summary>What is being saved.</summary>
    public SaveRequest Request { get; }

    /// <summary>Whether it has ended, with or without an error.</summary>
    public bool IsDone => _done.Task.IsCompleted;

    /// <summary>Waits until it has ended.</summary>
    /// <exception cref="CheckpointException">It failed.</exception>
    public void Wait() => _done.Task.GetAwaiter().GetResult();

    /// <summary>Waits, but gives up waiting for other ranks, and then for the disk.</summary>
    /// <exception cref="CheckpointException">It failed, or was given up.</exception>
    public void WaitAtMost(TimeSpan patience)
    {
        _giveUp.CancelAfter(patience);
        if (!_done.Task.ContinueWith(_ => { }, TaskScheduler.Default).Wait(patience + patience))
        {
            throw new CheckpointException($"the disk did not take it within {2 * patience.TotalSeconds:0} s") { IsPassing = true };
        }

        Wait();
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        if (IsDone) // else the thread still asks it
        {
            _giveUp.Dispose();
        }
    }

    private void WaitQuietly(TimeSpan patience)
    {
        try
        {
            WaitAtMost(patience);
        }
        catch (CheckpointException e)
        {
            Console.Error.WriteLine($"checkpoint {Request.Tag} was not saved: {e.Message}");
        }
    }

    private void Run(int rank, int worldSize, WritePace pace, Action<SaveRequest, IReadOnlyList<RankPart>, TimeSpan> report, Action<string> warn)
    {
        long start = TimeProvider.System.GetTimestamp();
        try
        {
            RankMarker.Write(Request.Temporary, rank, WriteFiles(rank, pace));
            if (rank == 0)
            {
                IReadOnlyList<RankPart> parts = Request.Fenced(() =>
                    RankMarker.Await(Request.Temporary, worldSize, Patience, TimeProvider.System, _giveUp.Token));
                RankMarker.RemoveAll(Request.Temporary, worldSize);
                Request.Complete(parts, warn);
                report(Request, parts, TimeProvider.System.GetElapsedTime(start));
            }

            _done.SetResult();
        }
#pragma warning disable CA1031 // whatever it is, the thread that asked for the checkpoint has to know
        catch (Exception e)
#pragma warning restore CA1031
        {
            _done.SetException(e as CheckpointException ?? new CheckpointException(e.Message, e) { IsPassing = e is IOException });
        }
        finally
        {
            AppDomain.CurrentDomain.ProcessExit -= _onExit;
        }
    }

    // The first rank has to hear of a failure, or it would wait.
    private RankPart WriteFiles(int rank, WritePace pace)
    {
        try
        {
            return Request.Write(rank, pace);
        }
        catch (Exception e) when (rank != 0 && Directory.Exists(Request.Temporary))
        {
            RankMarker.Write(Request.Temporary, rank, RankPart.Nothing with { Error = e.Message, IsPassing = e is IOException });
            throw;
        }
    }
}

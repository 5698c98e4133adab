using DeepSpeedSharp.Config;
using DeepSpeedSharp.Engine.Comm.Recording;

namespace DeepSpeedSharp.Engine.Comm.Store;

/// <summary>Small values that all ranks of a run share, and the place where a lost rank is noticed.</summary>
/// <remarks>Rank 0 holds them in its process, at MASTER_ADDR:MASTER_PORT; every rank is a client, rank 0 too. Each rank keeps a
/// heartbeat with it, on a thread of its own. The methods may be called from any thread.</remarks>
public sealed class TcpStore : IDisposable
{
    private readonly TaskCompletionSource<PeerLostException> _lost = new(TaskCreationOptions.RunContinuationsAsynchronously);

    private TcpStore(WorkerEnvironment place, StoreOptions options)
    {
        Recorder = new FlightRecorder(place.Rank!.Value, options.RecorderCapacity);
        Hosts = [];
    }

    /// <summary>Completes when a rank is lost: it ended, hangs, or cannot be reached. Every rank gets the same verdict, as far
    /// as rank 0 is still there to give one. Never faults; stays open when the run ends well.</summary>
    public Task<PeerLostException> Lost => _lost.Task;

    /// <summary>The collectives of this rank; the heartbeat tells the store how far this rank is by them.</summary>
    public FlightRecorder Recorder { get; }

    /// <summary>The address of each rank as rank 0 sees it; MASTER_ADDR for rank 0.</summary>
    public IReadOnlyList<string> Hosts { get; }

    /// <summary>A key for this start of the run that only its ranks know, as far as the job has a secret: 32 bytes with which the
    /// links between ranks prove that they belong together.</summary>
    internal ReadOnlyMemory<byte> SessionKey { get; }

    /// <summary>How much longer than its timeout a link should wait before it gives up by itself, so that the store, which sees
    /// all ranks, names the culprit first.</summary>
    internal TimeSpan Grace { get; }

    /// <summary>Joins the store; returns when all ranks have.</summary>
    public static Task<TcpStore> ConnectAsync(WorkerEnvironment place, TimeSpan timeout) => ConnectAsync(place, timeout, null);

    internal static Task<TcpStore> ConnectAsync(WorkerEnvironment place, TimeSpan timeout, StoreOptions? options) =>
        throw new NotSupportedException();

    /// <summary>Sets a value.</summary>
    public void Set(string key, ReadOnlySpan<byte> value) => throw new NotSupportedException();

    /// <summary>Waits for a value.</summary>
    public byte[] Get(string key, TimeSpan timeout) => throw new NotSupportedException();

    /// <summary>The value if there is one.</summary>
    public bool TryGet(string key, out byte[] value) => throw new NotSupportedException();

    /// <summary>Waits until all keys are there.</summary>
    public void Wait(IReadOnlyList<string> keys, TimeSpan timeout) => throw new NotSupportedException();

    /// <summary>Adds to a number.</summary>
    public long Add(string key, long amount) => throw new NotSupportedException();

    /// <summary>Sets a value if it is the expected one.</summary>
    public byte[] CompareSet(string key, ReadOnlySpan<byte> expected, ReadOnlySpan<byte> desired) => throw new NotSupportedException();

    /// <summary>Removes a value.</summary>
    public bool Delete(string key) => throw new NotSupportedException();

    /// <summary>Returns when all given ranks have called it.</summary>
    public void Barrier(string name, IReadOnlyList<int> ranks, TimeSpan timeout) => throw new NotSupportedException();

    /// <summary>Tells the store that a link of this rank broke, and waits a moment for the verdict: the store may know better
    /// which rank was the first to go.</summary>
    /// <param name="mine">What this rank saw.</param>
    /// <returns>The store's verdict, or <paramref name="mine"/>. <see cref="Lost"/> has completed then.</returns>
    public PeerLostException ReportFailure(PeerLostException mine) => throw new NotSupportedException();

    /// <summary>Leaves; the others do not take it for a loss.</summary>
    public void Dispose()
    {
    }
}

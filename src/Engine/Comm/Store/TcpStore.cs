using System.Net;
using System.Net.Sockets;
using DeepSpeedSharp.Config;
using DeepSpeedSharp.Engine.Comm.Recording;

namespace DeepSpeedSharp.Engine.Comm.Store;

/// <summary>Small values that all ranks of a run share, and the place where a lost rank is noticed.</summary>
/// <remarks>Rank 0 holds them in its process, at MASTER_ADDR:MASTER_PORT; every rank is a client, rank 0 too. Each rank keeps a
/// heartbeat with it, on a thread of its own. The methods may be called from any thread.</remarks>
public sealed class TcpStore : IDisposable
{
    private readonly WorkerEnvironment _place;
    private readonly StoreOptions _options;
    private readonly TaskCompletionSource<PeerLostException> _lost = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly FlightOutput _output;
    private StoreServer? _server;
    private StoreLink? _link;

    private TcpStore(WorkerEnvironment place, StoreOptions options)
    {
        (_place, _options) = (place, options);
        Recorder = new FlightRecorder(place.Rank!.Value, options.RecorderCapacity);
        _output = new FlightOutput(Recorder, options.DumpFolder);
    }

    /// <summary>Longest value, in bytes.</summary>
    public const int LongestValue = 16 << 20;

    /// <summary>Completes when a rank is lost: it ended, hangs, or cannot be reached. Every rank gets the same verdict, as far
    /// as rank 0 is still there to give one. Never faults; stays open when the run ends well.</summary>
    public Task<PeerLostException> Lost => _lost.Task;

    /// <summary>The collectives of this rank; the heartbeat tells the store how far this rank is by them.</summary>
    public FlightRecorder Recorder { get; }

    /// <summary>The address of each rank as rank 0 sees it; MASTER_ADDR for rank 0.</summary>
    public IReadOnlyList<string> Hosts { get; private set; } = [];

    /// <summary>A key for this start of the run that only its ranks know, as far as the job has a secret: 32 bytes with which the
    /// links between ranks prove that they belong together.</summary>
    internal ReadOnlyMemory<byte> SessionKey { get; private set; }

    /// <summary>How much longer than its timeout a link should wait before it gives up by itself, so that the store, which sees
    /// all ranks, names the culprit first.</summary>
    internal TimeSpan Grace => 4 * _options.HeartbeatInterval + TimeSpan.FromSeconds(2);

    /// <summary>Joins the store; returns when all ranks have.</summary>
    /// <param name="place">This rank's place. Rank 0 makes the store.</param>
    /// <param name="timeout">How long to wait for the others here; later, how long a rank may wait in a collective before one
    /// that has not entered it counts as lost.</param>
    /// <returns>The caller disposes it when the run ends, rank 0 last.</returns>
    /// <exception cref="PeerLostException">Some rank did not come, or rank 0 turned this one away.</exception>
    /// <exception cref="ConfigException">A variable of the environment makes no sense; see docs/communication.md.</exception>
    public static Task<TcpStore> ConnectAsync(WorkerEnvironment place, TimeSpan timeout) =>
        ConnectAsync(place, timeout, StoreOptions.Read(System.Environment.GetEnvironmentVariable, timeout));

    internal static async Task<TcpStore> ConnectAsync(WorkerEnvironment place, TimeSpan timeout, StoreOptions options)
    {
        var store = new TcpStore(place, options);
        try
        {
            await store.JoinAsync(timeout).ConfigureAwait(false);
            AppDomain.CurrentDomain.UnhandledException += store.OnUnhandled;
            AppDomain.CurrentDomain.ProcessExit += store.OnProcessExit;
            return store;
        }
        catch
        {
            store.Dispose();
            throw;
        }
    }

    /// <summary>Sets a value, and lets those go on who wait for it.</summary>
    /// <param name="key">At most 1024 characters.</param>
    /// <param name="value">At most <see cref="LongestValue"/> bytes; all values together at most 256 MiB.</param>
    /// <exception cref="PeerLostException">A rank is lost.</exception>
    public void Set(string key, ReadOnlySpan<byte> value) => Done(FrameKind.Set, Key(key).Bytes(Checked(value)).ToArray());

    /// <summary>The value of a key, which is waited for.</summary>
    /// <param name="key">The key.</param>
    /// <param name="timeout">How long to wait for some rank to set it.</param>
    /// <exception cref="TimeoutException">No rank set it.</exception>
    /// <exception cref="PeerLostException">A rank is lost.</exception>
    public byte[] Get(string key, TimeSpan timeout) => TryGet(key, timeout, out byte[] value)
        ? value : throw new TimeoutException($"store, rank {_place.Rank}: no rank set \"{key}\" within {timeout.TotalSeconds:0.#} s; look at the log "
            + "of the rank that should");

    /// <summary>The value of a key, if it has one now.</summary>
    /// <exception cref="PeerLostException">A rank is lost.</exception>
    public bool TryGet(string key, out byte[] value) => TryGet(key, TimeSpan.Zero, out value);

    /// <summary>Waits until keys have values.</summary>
    /// <param name="keys">All of them.</param>
    /// <param name="timeout">How long to wait.</param>
    /// <exception cref="TimeoutException">Some were not set; the message names them.</exception>
    /// <exception cref="PeerLostException">A rank is lost.</exception>
    public void Wait(IReadOnlyList<string> keys, TimeSpan timeout)
    {
        if (!Fetch(keys, timeout, withValue: false, out byte[] missing))
        {
            throw new TimeoutException($"store, rank {_place.Rank}: no rank set {string.Join(", ", Keys(missing).Select(key => $"\"{key}\""))} within "
                + $"{timeout.TotalSeconds:0.#} s; look at the log of the rank that should");
        }
    }

    /// <summary>Adds to a number, which is kept as a decimal text; one that is not there counts as 0.</summary>
    /// <returns>The sum. Every caller gets another one, as long as nobody adds 0.</returns>
    /// <exception cref="InvalidOperationException">The value is not a number.</exception>
    /// <exception cref="PeerLostException">A rank is lost.</exception>
    public long Add(string key, long amount) => new FieldReader(Done(FrameKind.Add, Key(key).Long(amount).ToArray())).Long();

    /// <summary>Sets a value if the present one is as expected, in one step.</summary>
    /// <param name="key">The key.</param>
    /// <param name="expected">Empty: the key has no value, or an empty one.</param>
    /// <param name="desired">The new value.</param>
    /// <returns>The value afterwards: the desired one, or else that which is there; empty when there is none.</returns>
    /// <exception cref="PeerLostException">A rank is lost.</exception>
    public byte[] CompareSet(string key, ReadOnlySpan<byte> expected, ReadOnlySpan<byte> desired) =>
        Done(FrameKind.CompareSet, Key(key).Bytes(Checked(expected)).Bytes(Checked(desired)).ToArray());

    /// <summary>Removes a value.</summary>
    /// <returns>Whether there was one.</returns>
    /// <exception cref="PeerLostException">A rank is lost.</exception>
    public bool Delete(string key) => Done(FrameKind.Delete, Key(key).ToArray())[0] != 0;

    /// <summary>Returns when all given ranks have called it.</summary>
    /// <param name="name">The same on all of them; may be used again afterwards.</param>
    /// <param name="ranks">Who takes part, this rank included.</param>
    /// <param name="timeout">How long to wait.</param>
    /// <exception cref="TimeoutException">Some did not come; the message names them.</exception>
    /// <exception cref="PeerLostException">A rank is lost.</exception>
    public void Barrier(string name, IReadOnlyList<int> ranks, TimeSpan timeout)
    {
        byte[] body = Key(name).Long(Milliseconds(timeout)).List(ranks, (fields, rank) => fields.Number(rank)).ToArray();
        (ReplyStatus status, byte[] answer) = Link.Ask(FrameKind.Barrier, body, timeout);
        if (status == ReplyStatus.TimedOut)
        {
            List<int> missing = new FieldReader(answer).List((ref FieldReader fields) => fields.Number());
            throw new TimeoutException($"barrier \"{name}\", rank {_place.Rank}: {(missing.Count == 1 ? "rank" : "ranks")} "
                + $"{string.Join(", ", missing)} of {string.Join(", ", ranks)} did not come within {timeout.TotalSeconds:0.#} s; look at "
                + $"{(missing.Count == 1 ? "its log" : "their logs")}");
        }
    }

    /// <summary>Tells the store that a link of this rank broke, and waits a moment for the verdict: the store may know better
    /// which rank was the first to go.</summary>
    /// <param name="mine">What this rank saw.</param>
    /// <returns>The store's verdict, or <paramref name="mine"/>. <see cref="Lost"/> has completed then.</returns>
    public PeerLostException ReportFailure(PeerLostException mine)
    {
        if (!Lost.IsCompleted)
        {
            string message = mine.Message.Replace(" See docs/operations.md#lost-ranks.", "", StringComparison.Ordinal).TrimEnd('.');
            Link.Tell(FrameKind.Failure, new FieldWriter().Number(mine.Rank).Text(message).ToArray());
            _ = Task.WaitAny([Lost, Link.Ended], mine.Rank < 0 ? Grace + _options.HeartbeatTimeout : Grace);
        }

        _lost.TrySetResult(mine);
        return Lost.Result;
    }

    /// <summary>Leaves; the others do not take it for a loss. Rank 0 ends the store.</summary>
    public void Dispose()
    {
        AppDomain.CurrentDomain.UnhandledException -= OnUnhandled;
        AppDomain.CurrentDomain.ProcessExit -= OnProcessExit;
        _link?.Dispose();
        _server?.Dispose();
        _output.Dispose();
    }

    private StoreLink Link => _link!;

    private async Task JoinAsync(TimeSpan timeout)
    {
        using var deadline = new CancellationTokenSource(timeout);
        EndPoint endpoint = new DnsEndPoint(MasterEndpoint.HostOf(_place), _place.MasterPort);
        if (_place.Rank == 0)
        {
            Socket listener = await MasterEndpoint.ListenAsMasterAsync(_place, timeout, deadline.Token).ConfigureAwait(false);
            _server = new StoreServer(listener, _place, timeout, _options, Recorder);
            endpoint = MasterEndpoint.OwnEndpoint(listener);
            deadline.CancelAfter(timeout + Grace); // the store itself knows whom it waits for
        }

        string last = "no attempt was made";
        try
        {
            while (!await TryJoinAsync(endpoint, problem => last = problem, deadline.Token).ConfigureAwait(false))
            {
                await Task.Delay(MasterEndpoint.RetryPause, deadline.Token).ConfigureAwait(false);
            }
        }
        catch (OperationCanceledException e)
        {
            IReadOnlyList<int> missing = _link?.Missing ?? [];
            throw missing.Count > 0
                ? new PeerLostException(missing[0], $"rendezvous, rank {_place.Rank}: {(missing.Count == 1 ? "rank" : "ranks")} "
                    + $"{string.Join(", ", missing)} of {_place.WorldSize} did not come within {timeout.TotalSeconds:0.#} s; look at their logs, or "
                    + "raise DEEPSPEED_TIMEOUT (minutes)", e)
                { Ranks = missing }
                : new PeerLostException(0, $"rendezvous, rank {_place.Rank}: rank 0 at {MasterEndpoint.Name(_place)} did not answer within "
                    + $"{timeout.TotalSeconds:0.#} s ({last}); look at the log of rank 0, or raise DEEPSPEED_TIMEOUT (minutes)", e);
        }
    }

    // False when rank 0 is not there yet, or went away before all had come: it may come back.
    private async Task<bool> TryJoinAsync(EndPoint endpoint, Action<string> onProblem, CancellationToken cancel)
    {
        try
        {
            (Socket socket, byte[] session) = await StoreGreeting.JoinAsync(endpoint, _place, _options, cancel).ConfigureAwait(false);
            SessionKey = StoreProof.SessionKey(_options.Secret.Span, session);
            _link = new StoreLink(socket, _place.Rank!.Value, MasterEndpoint.Name(_place), _options, Recorder, OnLost);
            Hosts = await _link.Ready.WaitAsync(cancel).ConfigureAwait(false);
            return true;
        }
        catch (IOException e)
        {
            onProblem(e.Message);
            _link?.Dispose();
            _link = null;
            return false;
        }
    }

    // On the link's thread, before anything fails: the process may end right afterwards.
    private void OnLost(PeerLostException lost)
    {
        if (Hosts.Count > 0)
        {
            Link.Tell(FrameKind.Dump, DumpCollection.Fitting(Recorder));
            _output.WriteAfterFailure(FlightDump.Of(Recorder));
        }

        _lost.TrySetResult(lost);
    }

    // A rank that failed by itself says so, and the others need not guess.
    private void OnUnhandled(object sender, UnhandledExceptionEventArgs failure)
    {
        if (failure.ExceptionObject is Exception exception and not PeerLostException)
        {
            Link.Tell(FrameKind.Failure, new FieldWriter().Number(_place.Rank!.Value)
                .Text($"{exception.GetType().Name}: {exception.Message}").ToArray());
        }
    }

    // A program that ends well without having disposed its process group has not been lost.
    private void OnProcessExit(object? sender, EventArgs e)
    {
        if (System.Environment.ExitCode == 0 && !Lost.IsCompleted)
        {
            Dispose();
        }
    }

    private bool TryGet(string key, TimeSpan timeout, out byte[] value)
    {
        bool found = Fetch([key], timeout, withValue: true, out byte[] answer);
        value = found ? answer : [];
        return found;
    }

    private bool Fetch(IReadOnlyList<string> keys, TimeSpan timeout, bool withValue, out byte[] answer)
    {
        byte[] body = new FieldWriter().Byte(withValue ? (byte)1 : (byte)0).Long(Milliseconds(timeout))
            .List(keys, (fields, key) => fields.Text(key)).ToArray();
        (ReplyStatus status, answer) = Link.Ask(FrameKind.Get, body, timeout);
        return status == ReplyStatus.Done;
    }

    private static List<string> Keys(byte[] answer) => new FieldReader(answer).List((ref FieldReader fields) => fields.Text());

    private static FieldWriter Key(string key) => key.Length <= KeyTable.LongestKey
        ? new FieldWriter().Text(key) : throw new ArgumentException($"a key of {key.Length} characters, where {KeyTable.LongestKey} are the most", nameof(key));

    private static ReadOnlySpan<byte> Checked(ReadOnlySpan<byte> value) => value.Length <= LongestValue
        ? value : throw new ArgumentException($"a value of {value.Length} bytes, where {LongestValue} are the most; send it by a collective", nameof(value));

    private static long Milliseconds(TimeSpan time) => (long)Math.Clamp(time.TotalMilliseconds, 0, int.MaxValue);

    private byte[] Done(FrameKind kind, byte[] body)
    {
        (ReplyStatus status, byte[] answer) = Link.Ask(kind, body, TimeSpan.Zero);
        return status == ReplyStatus.Done
            ? answer : throw new InvalidOperationException($"store, rank {_place.Rank}: {System.Text.Encoding.UTF8.GetString(answer)}");
    }
}

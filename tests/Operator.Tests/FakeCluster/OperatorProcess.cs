using DeepSpeedSharp.Operator.Runtime;
using k8s;
using Microsoft.Extensions.Logging.Abstractions;

namespace DeepSpeedSharp.Operator.Tests.FakeCluster;

/// <summary>One process of the real operator against the fake cluster, with everything between it and the network that a
/// deployed one has. It can be stopped and go on like one that gets SIGSTOP and SIGCONT, and be killed.</summary>
internal sealed class OperatorProcess : IAsyncDisposable
{
    private readonly FakeApi _api;
    private readonly CancellationTokenSource _end = new();
    private readonly Kubernetes _client;
    private readonly JobOperator _operator;
    private readonly Gate _gate;

    /// <summary>Header of each request: when the process sent it, by the clock of the cluster, in ticks.</summary>
    public const string SentHeader = "X-Sent";

    /// <summary>Starts it.</summary>
    /// <param name="api">The API server.</param>
    /// <param name="name">Its name for the API server, and its identity in a lease.</param>
    /// <param name="clock">Its clock.</param>
    /// <param name="options">How it runs.</param>
    /// <param name="pageSize">Objects per page of a list.</param>
    public OperatorProcess(FakeApi api, string name, TimeProvider clock, OperatorOptions options, int pageSize)
    {
        (_api, Name, Clock, _gate) = (api, name, clock, new Gate(api.Store.Time!, Stop));
        _client = api.Client(name, new RateLimitHandler(options.RequestsPerSecond, options.RequestBurst, clock), _gate);
        _operator = new JobOperator(_client, options, new ListWatchOptions { PageSize = pageSize },
            new JobWatch(clock, Metrics, NullLogger.Instance));
        Run = _operator.RunAsync(_end.Token);
    }

    public string Name { get; }

    public TimeProvider Clock { get; }

    public OperatorMetrics Metrics { get; } = new();

    /// <summary>Ends when the process ends; faulted when it ends by itself.</summary>
    public Task Run { get; }

    /// <summary>Whether the process has ended or was killed.</summary>
    public bool IsDead => Run.IsCompleted || _api.IsDead(Name);

    /// <summary>Whether it may act: it has the lease, or needs none.</summary>
    public bool Leads => _operator.Leads;

    /// <summary>Why it does not look after jobs yet; null when it does.</summary>
    public string? Waits => _operator.Waits;

    /// <summary>Whether it has seen all machines once.</summary>
    public bool KnowsMachines => _operator.KnowsMachines;

    /// <summary>Requests that were sent and not answered yet, watches not counted.</summary>
    public int InFlight => _gate.InFlight;

    /// <summary>Whether it has seen every change and every pass that follows from one is over.</summary>
    public bool IsQuiet => _operator.IsQuiet(_api.Store.VersionOf("deepspeedjobs"), _api.Store.VersionOf("pods"),
        _api.Store.VersionOf("nodes"), _api.Store.VersionOf("services"));

    /// <summary>Nothing of it arrives any more, from this moment on.</summary>
    public void Kill()
    {
        _api.Kill(Name);
        _gate.Open();
        _end.Cancel();
    }

    /// <summary>Asks it to end in good order.</summary>
    public void Terminate() => _end.Cancel();

    /// <summary>As SIGSTOP does.</summary>
    public void Stop()
    {
        ((ProcessClock)Clock).Stop();
        _gate.Close();
    }

    /// <summary>As SIGSTOP does, right when it is about to change something.</summary>
    public void StopAtNextWrite() => _gate.StopsAtNextWrite = true;

    /// <summary>Takes that back.</summary>
    public void DoNotStop() => _gate.StopsAtNextWrite = false;

    /// <summary>As SIGCONT does: what was about to be sent is sent, and the timers notice how late it is, in any order.</summary>
    public async Task ContinueAsync()
    {
        ((ProcessClock)Clock).Continue();
        _gate.Open();
        await Task.Delay(1); // what was about to be sent gets a chance before the timers
        ((ProcessClock)Clock).Advance(TimeSpan.Zero);
    }

    public async ValueTask DisposeAsync()
    {
        Kill();
        await Task.WhenAny(Run, Task.Delay(2000));
        _operator.Dispose();
        _client.Dispose();
        _end.Dispose();
    }

    // The last thing before the network: what waits here was decided before the process was stopped.
    private sealed class Gate(TimeProvider time, Action stop) : DelegatingHandler
    {
        private volatile TaskCompletionSource? _closed;
        private int _inFlight;

        public int InFlight => Volatile.Read(ref _inFlight);

        public bool StopsAtNextWrite { get; set; }

        public void Close() => _closed ??= new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);

        public void Open()
        {
            StopsAtNextWrite = false;
            TaskCompletionSource? closed = _closed;
            _closed = null;
            closed?.TrySetResult();
        }

        protected override async Task<HttpResponseMessage> SendAsync(HttpRequestMessage request, CancellationToken cancellationToken)
        {
            if (StopsAtNextWrite && request.Method != HttpMethod.Get
                && request.RequestUri?.AbsolutePath is { } path && !path.Contains("/leases", StringComparison.Ordinal) && !path.Contains("/events", StringComparison.Ordinal))
            {
                StopsAtNextWrite = false;
                stop();
            }

            await RunningAsync(cancellationToken);
            request.Headers.Remove(SentHeader);
            request.Headers.Add(SentHeader, time.GetUtcNow().Ticks.ToString(System.Globalization.CultureInfo.InvariantCulture));
            if (request.RequestUri?.Query.Contains("watch=true", StringComparison.Ordinal) == true)
            {
                return await HoldAsync(await base.SendAsync(request, cancellationToken), cancellationToken);
            }

            HttpResponseMessage response;
            Interlocked.Increment(ref _inFlight);
            try
            {
                response = await base.SendAsync(request, cancellationToken);
            }
            finally
            {
                Interlocked.Decrement(ref _inFlight);
            }

            return await HoldAsync(response, cancellationToken);
        }

        // What comes while the process is stopped, it gets when it goes on.
        private async Task<HttpResponseMessage> HoldAsync(HttpResponseMessage response, CancellationToken cancel)
        {
            await RunningAsync(cancel);
            HttpContent content = response.Content;
            response.Content = new StreamContent(new GatedStream(await content.ReadAsStreamAsync(cancel), RunningAsync));
            foreach ((string name, IEnumerable<string> values) in content.Headers)
            {
                response.Content.Headers.TryAddWithoutValidation(name, values);
            }

            return response;
        }

        private async Task RunningAsync(CancellationToken cancel)
        {
            while (_closed is { } closed)
            {
                await closed.Task.WaitAsync(cancel);
            }
        }
    }
}

using System.Text.Json;
using DeepSpeedSharp.Operator.Api.V1Alpha1;
using DeepSpeedSharp.Operator.Planning;
using DeepSpeedSharp.Operator.Progress;
using DeepSpeedSharp.Operator.Runtime;

namespace DeepSpeedSharp.Operator;

/// <summary>Everything that works on DeepSpeedJobs, wired together: watches, one controller, events and progress.</summary>
/// <remarks>
/// One replica acts at a time: the only one, or with a lease the leader; the others keep their caches filled. Two of them by
/// mistake would not corrupt a job, because every status write carries the version it was decided on.
/// </remarks>
internal sealed class JobOperator : IDisposable
{
    private readonly OperatorOptions _options;
    private readonly ListWatcher<DeepSpeedJob> _jobs;
    private readonly ListWatcher<PodSnapshot> _pods;
    private readonly ListWatcher<ServiceSnapshot> _services;
    private readonly ListWatcher<NodeSnapshot>? _nodes;
    private readonly Controller<DeepSpeedJob> _controller;
    private readonly DeepSpeedJobController _reconciler;
    private readonly EventPublisher _events;
    private readonly LeaderElector? _elector;
    private readonly ProgressPoller _progress;
    private readonly HttpMessageInvoker _http;
    private readonly JobCaches _caches = JobCaches.Create();
    private readonly JobWatch _watch;

    /// <summary>Wires the operator.</summary>
    /// <param name="client">The cluster; stays open.</param>
    /// <param name="options">How to run.</param>
    /// <param name="pace">Pace of the watches.</param>
    /// <param name="watch">Clock, metrics and log.</param>
    public JobOperator(ApiEndpoint client, OperatorOptions options, ListWatchOptions pace, JobWatch watch)
    {
        (_options, _watch) = (options, watch);
        var free = new ApiConnection(client, watch.Time);
        _elector = options.Leader is { } leader ? new LeaderElector(free, leader, watch.Time, watch.Log) : null;
        ApiConnection api = _elector is null ? free : new ApiConnection(client, watch.Time, () => _elector.IsLeader);
        string scope = options.Namespace is { } ns ? $"/namespaces/{ns}" : "";
        _jobs = Watch($"/apis/{DeepSpeedJob.GroupVersion}{scope}/{DeepSpeedJob.Plural}", "", _caches.ReadJob, _caches.Jobs);
        _pods = Watch($"/api/v1{scope}/pods", $"{JobLabels.Job}=true", new PodReader().Read, _caches.Pods);
        _services = Watch($"/api/v1{scope}/services", $"{JobLabels.Job}=true", ServiceSnapshot.Read, _caches.Services);
        _nodes = options.WatchNodes ? Watch("/api/v1/nodes", "", NodeSnapshot.Read, _caches.Nodes) : null;
        _controller = new Controller<DeepSpeedJob>(_caches.Jobs, j => j.Key,
                (before, after) => before.Metadata.Uid != after.Metadata.Uid
                    || before.Metadata.Generation != after.Metadata.Generation
                    || before.Metadata.DeletionTimestamp != after.Metadata.DeletionTimestamp,
                watch.Metrics.Runtime, watch.Time, watch.Log)
            .Owns(_caches.Pods, p => p.OwnerKey)
            .Owns(_caches.Services, s => s.OwnerKey)
            .Watches(_caches.Nodes, (before, after) => before != after, node => _caches.Pods.All()
                .Where(p => p.ClusterNode == node.Name && !p.IsTerminal).Select(p => p.OwnerKey).OfType<string>());
        _events = new EventPublisher(free, JobLabels.ManagedBy, watch.Time, watch.Log);
        _reconciler = new DeepSpeedJobController(
            _caches, api, new JobObjects(api, _caches, watch.Metrics, watch.Log), _events, watch, options.AllowHostAccess);
        _http = new HttpMessageInvoker(new SocketsHttpHandler { UseProxy = false, ConnectTimeout = TimeSpan.FromSeconds(2) });
        _progress = new ProgressPoller(_caches, _http, options.ProgressInterval, _controller.Queue.Add, watch.Time, watch.Log);
        watch.Metrics.ComputeGaugesFrom(_caches.Jobs.All);
        watch.Metrics.Runtime.Observe(watch.Metrics.Registry, _controller.Queue);
        if (options.Leader is { } lease)
        {
            watch.Metrics.Registry.AddBeforeCollectCallback(() => watch.Metrics.Runtime.Leads(lease.Name, _elector!.IsLeader));
        }

        ListWatcher<T> Watch<T>(string path, string selector, Func<JsonElement, T> read, ObjectCache<T> cache)
            where T : class => new(path, selector, read, cache, api, pace, watch.Time, watch.Log);
    }

    /// <summary>Whether the caches are filled.</summary>
    public bool IsReady => Synced.IsCompletedSuccessfully;

    private Task Synced => Task.WhenAll(_jobs.Synced, _pods.Synced, _services.Synced);

    /// <summary>Whether everything up to these versions was seen and every pass that follows from it is over.</summary>
    /// <param name="jobs">Version of the last change of a job.</param>
    /// <param name="pods">Version of the last change of a pod.</param>
    internal bool IsQuiet(long jobs, long pods) => IsReady && _jobs.HasSeen(jobs) && _pods.HasSeen(pods) && _controller.Queue.IsIdle;

    /// <summary>Runs until cancelled; returns when the last pass is over. Throws when a part of it breaks down.</summary>
    public async Task RunAsync(CancellationToken stop)
    {
        using var all = CancellationTokenSource.CreateLinkedTokenSource(stop);
        using var lastEvents = new CancellationTokenSource();
        Task events = _events.RunAsync(lastEvents.Token);
        Task[] parts =
        [
            _jobs.RunAsync(all.Token), _pods.RunAsync(all.Token), _services.RunAsync(all.Token), ControlAsync(all.Token),
            .. _nodes is null ? [] : new[] { _nodes.RunAsync(all.Token) },
        ];

        // None of them ends by itself: without one of them the others would only seem to work.
        await Task.WhenAny([.. parts, events]);
        await all.CancelAsync();
        try
        {
            await Task.WhenAll(parts);
        }
        finally
        {
            await lastEvents.CancelAsync();
            await events;
        }
    }

    private async Task ControlAsync(CancellationToken stop)
    {
        try
        {
            await Synced.WaitAsync(stop);
        }
        catch (OperationCanceledException)
        {
            return;
        }

        Log.Synced(_watch.Log, _caches.Jobs.Count, _caches.Pods.Count);
        if (_elector is null)
        {
            await LeadAsync(stop, CancellationToken.None);
        }
        else
        {
            await _elector.RunAsync(LeadAsync, stop);
        }
    }

    private Task LeadAsync(CancellationToken stop, CancellationToken abort) =>
        Task.WhenAll(_controller.RunAsync(_reconciler, _options.Workers, stop, abort), _progress.RunAsync(stop));

    /// <inheritdoc/>
    public void Dispose()
    {
        _controller.Dispose();
        _http.Dispose();
    }
}

using System.Text.Json;
using DeepSpeedSharp.Jobs;
using DeepSpeedSharp.Operator.Api.Schema;
using DeepSpeedSharp.Operator.Api.V1Alpha1;
using DeepSpeedSharp.Operator.Planning;
using DeepSpeedSharp.Operator.Progress;
using DeepSpeedSharp.Operator.Resources.Gang;
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
    private readonly NamespaceWatch<DeepSpeedJob> _jobs;
    private readonly NamespaceWatch<PodSnapshot> _pods;
    private readonly NamespaceWatch<ServiceSnapshot> _services;
    private readonly ListWatcher<NodeSnapshot>? _nodes;
    private readonly NamespaceWatch<GroupSnapshot> _groups;
    private readonly GangObjects _gangs;
    private readonly Controller<DeepSpeedJob> _controller;
    private readonly DeepSpeedJobController _reconciler;
    private readonly EventPublisher _events;
    private readonly LeaderElector? _elector;
    private readonly StartGate _definition;
    private readonly ProgressPoller _progress;
    private readonly HttpMessageInvoker _http;
    private readonly JobCaches _caches;
    private readonly JobWatch _watch;

    /// <summary>Wires the operator.</summary>
    /// <param name="client">The cluster; stays open.</param>
    /// <param name="options">How to run.</param>
    /// <param name="pace">Pace of the watches.</param>
    /// <param name="watch">Clock, metrics and log.</param>
    public JobOperator(ApiEndpoint client, OperatorOptions options, ListWatchOptions pace, JobWatch watch)
    {
        (_options, _watch, _caches) = (options, watch, JobCaches.Create(options.Defaults));
        var free = new ApiConnection(client, watch.Time);
        _elector = options.Leader is { } leader ? new LeaderElector(free, leader, watch.Time, watch.Log) : null;
        ApiConnection api = _elector is null ? free : new ApiConnection(client, watch.Time, () => _elector.IsLeader);
        _jobs = new($"/apis/{DeepSpeedJob.GroupVersion}", DeepSpeedJob.Plural, options.Namespaces, path => Watch(path, "", _caches.ReadJob, _caches.Jobs));
        _pods = new("/api/v1", "pods", options.Namespaces, path => Watch(path, $"{JobLabels.Job}=true", PodsOf(new PodReader()), _caches.Pods));
        _services = new("/api/v1", "services", options.Namespaces, path => Watch(path, $"{JobLabels.Job}=true", ServiceSnapshot.Read, _caches.Services));
        _nodes = options.WatchNodes ? Watch("/api/v1/nodes", "", node => _caches.ReadNode(node, watch.Time), _caches.Nodes) : null;
        _groups = new($"/apis/{PodGroups.ApiVersion(GangScheduler.Volcano)}", PodGroup.Plural, options.Namespaces,
            path => Watch(path, $"{JobLabels.Job}=true", GroupSnapshot.Read, _caches.Groups));
        _definition = new StartGate(free, $"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{DeepSpeedJob.Plural}.{DeepSpeedJobManifest.Group}",
            ServedSchema.Problem, "the custom resource definition of DeepSpeedJob is not installed; apply deploy/crds/deepspeedjobs.yaml", watch.Time, watch.Log);
        _controller = new Controller<DeepSpeedJob>(_caches.Jobs, j => j.Key,
                (before, after) => before.Metadata.Uid != after.Metadata.Uid
                    || before.Metadata.Generation != after.Metadata.Generation
                    || before.Metadata.DeletionTimestamp != after.Metadata.DeletionTimestamp,
                watch.Metrics.Runtime, watch.Time, watch.Log)
        { Resync = options.Resync }
            .Owns(_caches.Pods, p => p.OwnerKey)
            .Owns(_caches.Services, s => s.OwnerKey)
            .Owns(_caches.Groups, g => g.OwnerKey)
            .Watches(_caches.Nodes, (before, after) => before != after, node => _caches.Pods.All()
                .Where(p => p.ClusterNode == node.Name && !p.IsTerminal).Select(p => p.OwnerKey).OfType<string>());
        _events = new EventPublisher(free, JobLabels.ManagedBy, watch.Time, watch.Log);
        var objects = new JobObjects(api, _caches, options.PodParallelism, watch);
        _gangs = new GangObjects(api, objects, _caches.Groups, watch.Time);
        _reconciler = new DeepSpeedJobController(_caches, objects, _gangs, new StatusWriter(_caches, api, _events, watch), watch, options);
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

    private Func<JsonElement, PodSnapshot> PodsOf(PodReader reader) =>
        pod => _caches.Follow(reader.Read(pod), isNews: !_pods.Missing.Any(), _watch.Time);

    /// <summary>Why jobs are not looked after yet; null when the definition is as it should be and the caches are filled.</summary>
    /// <remarks>Replicas that do not lead are ready too.</remarks>
    public string? Waits
    {
        get
        {
            string lists = string.Join(", ", [.. _jobs.Missing, .. _pods.Missing, .. _services.Missing]);
            return _definition.Waits ?? (lists.Length > 0 ? $"not listed yet: {lists}" : null);
        }
    }

    private Task Synced => Task.WhenAll(_jobs.Synced, _pods.Synced, _services.Synced);

    /// <summary>Whether this process may act: it has the lease, or needs none.</summary>
    internal bool Leads => _elector?.IsLeader ?? true;

    /// <summary>Whether the machines were listed, where they may be.</summary>
    internal bool KnowsMachines => _nodes?.Synced.IsCompleted != false;

    /// <summary>Whether everything up to these versions was seen and every pass that follows from it is over.</summary>
    /// <param name="jobs">Version of the last change of a job.</param>
    /// <param name="pods">Version of the last change of a pod.</param>
    /// <param name="machines">Version of the last change of a machine.</param>
    /// <param name="services">Version of the last change of a Service.</param>
    internal bool IsQuiet(long jobs, long pods, long machines, long services) => Waits is null && _jobs.HasSeen(jobs) && _pods.HasSeen(pods)
        && _nodes?.HasSeen(machines) != false && _services.HasSeen(services) && _controller.Queue.IsIdle;

    /// <summary>Runs until cancelled; returns when the last pass is over. Throws when a part of it breaks down.</summary>
    public async Task RunAsync(CancellationToken stop)
    {
        using var all = CancellationTokenSource.CreateLinkedTokenSource(stop);
        using var lastEvents = new CancellationTokenSource();
        Task events = _events.RunAsync(lastEvents.Token);
        Task[] parts =
        [
            _jobs.RunAsync(all.Token), _pods.RunAsync(all.Token), _services.RunAsync(all.Token), WatchGroupsAsync(all.Token),
            ControlAsync(all.Token),
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

    // Most clusters have no Volcano, and a watch of an API that is not served fails for ever.
    private async Task WatchGroupsAsync(CancellationToken stop)
    {
        await _gangs.NeedsWatch.WaitAsync(stop).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        await _groups.RunAsync(stop);
    }

    private async Task ControlAsync(CancellationToken stop)
    {
        try
        {
            await _definition.OpenAsync(stop);
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
            await _elector.RunAsync(TakeOverAsync, stop);
        }
    }

    // The watch of a new leader may be behind the last writes of the old one, and then a finished job would look alive.
    private async Task TakeOverAsync(CancellationToken stop, CancellationToken abort)
    {
        try
        {
            await Task.WhenAll(_jobs.ListAgainAsync(stop), _pods.ListAgainAsync(stop), _services.ListAgainAsync(stop));
        }
        catch (OperationCanceledException) when (stop.IsCancellationRequested)
        {
            return;
        }

        await LeadAsync(stop, abort);
    }

    private Task LeadAsync(CancellationToken stop, CancellationToken abort) =>
        Task.WhenAll(_controller.RunAsync(_reconciler, _options.Workers, stop, abort), _progress.RunAsync(stop));

    /// <inheritdoc/>
    public void Dispose()
    {
        _controller.Dispose();
        _http.Dispose();
        _jobs.Dispose();
        _pods.Dispose();
        _services.Dispose();
        _nodes?.Dispose();
        _groups.Dispose();
    }
}

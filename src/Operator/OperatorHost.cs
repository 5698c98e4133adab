using System.Runtime.CompilerServices;
using DeepSpeedSharp.Operator.Runtime;
using DeepSpeedSharp.Operator.Serving;
using k8s;

namespace DeepSpeedSharp.Operator;

/// <summary>The process: web endpoints, signals and the operator itself.</summary>
internal static class OperatorHost
{
    /// <summary>Name of the controller in metrics.</summary>
    public const string ControllerName = "deepspeedjob";

    /// <summary>Name that this program's own lines have in the log.</summary>
    public const string LogName = "deepspeed-operator";

    /// <summary>Runs until SIGTERM or Ctrl-C.</summary>
    public static async Task RunAsync(OperatorOptions options, CancellationToken cancel)
    {
        // Nothing is read from files of settings, and nothing is routed.
        WebApplicationBuilder builder = WebApplication.CreateEmptyBuilder(new WebApplicationOptions());
        Endpoints.Listen(builder.WebHost, options, TimeProvider.System);
        builder.Services.Configure<HostOptions>(h => h.ShutdownTimeout = TimeSpan.FromSeconds(25));
        ConfigureLogs(builder.Logging, options);
        await using WebApplication app = builder.Build();

        KubernetesClientConfiguration cluster = Cluster(options);
        ILogger log = app.Services.GetRequiredService<ILoggerFactory>().CreateLogger(LogName);
        var metrics = new OperatorMetrics();
        DelegatingHandler[] handlers =
        [
            new RateLimitHandler(options.RequestsPerSecond, options.RequestBurst, TimeProvider.System),
            new RequestMetricsHandler(metrics.Runtime, TimeProvider.System),
        ];
        using ApiEndpoint client = IsInPod(options) ? ApiEndpoint.OfPod(cluster, handlers) : OutsideOfPod(cluster, handlers);
        using var jobs = new JobOperator(client, options, new ListWatchOptions(), new JobWatch(TimeProvider.System, metrics, log));

        using MetricsAccess? access = options.SecureMetrics
            ? new MetricsAccess(new ApiConnection(client, TimeProvider.System), TimeProvider.System, log) : null;
        Endpoints.Map(app, options, metrics, () => jobs.Waits, access);

        string scope = options.Namespaces.Count == 0 ? "all namespaces" : string.Join(", ", options.Namespaces);
        Log.Starting(log, scope, cluster.Host, options.MetricsPort);
        await app.StartAsync(cancel);
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(cancel, app.Lifetime.ApplicationStopping);
        Task trim = new MemoryTrim(TimeProvider.System).RunAsync(stop.Token);
        try
        {
            await jobs.RunAsync(stop.Token);
        }
        finally
        {
            await stop.CancelAsync();
            await trim;
            Log.Stopped(log);
            await app.StopAsync(CancellationToken.None);
        }
    }

    /// <summary>Where the cluster is, and how to notice soon that a connection is dead.</summary>
    internal static KubernetesClientConfiguration Cluster(OperatorOptions options)
    {
        // In a pod the service account counts, even if a stray kubeconfig lies around.
        KubernetesClientConfiguration cluster = options.Kubeconfig is { } file
            ? KubernetesClientConfiguration.BuildConfigFromConfigFile(file)
            : IsInPod(options)
                ? KubernetesClientConfiguration.InClusterConfig()
                : KubernetesClientConfiguration.BuildDefaultConfig();
        cluster.UserAgent = "deepspeed-operator";
        cluster.FirstMessageHandlerSetup = handler =>
        {
            handler.ConnectTimeout = TimeSpan.FromSeconds(10);
            handler.KeepAlivePingDelay = TimeSpan.FromSeconds(30);
            handler.KeepAlivePingTimeout = TimeSpan.FromSeconds(15);
            handler.KeepAlivePingPolicy = HttpKeepAlivePingPolicy.WithActiveRequests;
        };
        return cluster;
    }

    // Apart, so that a pod never loads the client's type.
    [MethodImpl(MethodImplOptions.NoInlining)]
    private static ApiEndpoint OutsideOfPod(KubernetesClientConfiguration cluster, DelegatingHandler[] handlers) =>
        new Kubernetes(cluster, [.. handlers.Reverse()]);

    private static bool IsInPod(OperatorOptions options) => options.Kubeconfig is null && KubernetesClientConfiguration.IsInCluster();

    private static void ConfigureLogs(ILoggingBuilder logs, OperatorOptions options)
    {
        logs.ClearProviders();
        logs.SetMinimumLevel(options.LogLevel);
        logs.AddFilter("Microsoft", LogLevel.Warning);
        if (options.JsonLogs)
        {
            logs.AddJsonConsole(c => { c.UseUtcTimestamp = true; c.TimestampFormat = "yyyy-MM-dd'T'HH:mm:ss.fff'Z'"; });
        }
        else
        {
            logs.AddSimpleConsole(c => { c.SingleLine = true; c.UseUtcTimestamp = true; c.TimestampFormat = "yyyy-MM-dd'T'HH:mm:ss.fff'Z '"; });
        }
    }
}

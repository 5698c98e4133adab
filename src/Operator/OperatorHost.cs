using System.Runtime.CompilerServices;
using DeepSpeedSharp.Operator.Runtime;
using k8s;
using Prometheus;

namespace DeepSpeedSharp.Operator;

/// <summary>The process: web endpoints, signals and the operator itself.</summary>
internal static class OperatorHost
{
    /// <summary>Name of the controller in metrics.</summary>
    public const string ControllerName = "deepspeedjob";

    /// <summary>Runs until SIGTERM or Ctrl-C.</summary>
    public static async Task RunAsync(OperatorOptions options, CancellationToken cancel)
    {
        WebApplicationBuilder builder = WebApplication.CreateSlimBuilder();
        builder.WebHost.ConfigureKestrel(k => k.ListenAnyIP(options.MetricsPort));
        builder.Services.Configure<HostOptions>(h => h.ShutdownTimeout = TimeSpan.FromSeconds(25));
        ConfigureLogs(builder.Logging, options);
        await using WebApplication app = builder.Build();

        KubernetesClientConfiguration cluster = Cluster(options);
        ILogger log = app.Services.GetRequiredService<ILoggerFactory>().CreateLogger("deepspeed-operator");
        var metrics = new OperatorMetrics();
        DelegatingHandler[] handlers =
        [
            new RateLimitHandler(options.RequestsPerSecond, options.RequestBurst, TimeProvider.System),
            new RequestMetricsHandler(metrics.Runtime, TimeProvider.System),
        ];
        using ApiEndpoint client = IsInPod(options) ? ApiEndpoint.OfPod(cluster, handlers) : OutsideOfPod(cluster, handlers);
        using var jobs = new JobOperator(client, options, new ListWatchOptions(), new JobWatch(TimeProvider.System, metrics, log));

        app.MapGet("/healthz", () => "ok\n");
        app.MapGet("/readyz", () => jobs.IsReady
            ? Results.Text("ok\n") : Results.Text("the first lists are not there yet\n", statusCode: 503));
        app.MapGet("/metrics", async (HttpContext context) =>
        {
            context.Response.ContentType = PrometheusConstants.TextContentTypeWithVersionAndEncoding;
            await metrics.Registry.CollectAndExportAsTextAsync(
                context.Response.Body, ExpositionFormat.PrometheusText, context.RequestAborted);
        });

        Log.Starting(log, options.Namespace is { } ns ? $"namespace {ns}" : "all namespaces", cluster.Host, options.MetricsPort);
        await app.StartAsync(cancel);
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(cancel, app.Lifetime.ApplicationStopping);
        try
        {
            await jobs.RunAsync(stop.Token);
        }
        finally
        {
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

using DeepSpeedSharp.Config;
using DeepSpeedSharp.Operator.Planning;

namespace DeepSpeedSharp.Operator;

/// <summary>How the operator runs.</summary>
internal sealed record OperatorOptions
{
    /// <summary>Namespaces to look after; empty for all.</summary>
    public IReadOnlyList<string> Namespaces { get; init; } = [];

    /// <summary>Port of metrics; 0 for no metrics.</summary>
    public int MetricsPort { get; init; } = 8080;

    /// <summary>Port of /healthz and /readyz; 0 for the port of the metrics.</summary>
    public int HealthPort { get; init; }

    /// <summary>Whether metrics are served over TLS, to those whom the API server lets read them.</summary>
    public bool SecureMetrics { get; init; }

    /// <summary>Folder with tls.crt and tls.key; null for a certificate that this process makes itself.</summary>
    public string? MetricsCertificate { get; init; }

    /// <summary>Time between two questions to rank 0 of a job.</summary>
    public TimeSpan ProgressInterval { get; init; } = TimeSpan.FromSeconds(5);

    /// <summary>Jobs that are looked at at a time.</summary>
    public int Workers { get; init; } = 10;

    /// <summary>Pods of one job that are created or deleted at a time.</summary>
    public int PodParallelism { get; init; } = 50;

    /// <summary>Time after which each job is looked at without an event.</summary>
    public TimeSpan Resync { get; init; } = TimeSpan.FromMinutes(10);

    /// <summary>Requests per second to the API server in the long run.</summary>
    public double RequestsPerSecond { get; init; } = 50;

    /// <summary>Requests that may be sent at once.</summary>
    public int RequestBurst { get; init; } = 100;

    /// <summary>The lease by which one of several replicas is chosen; null for a single one.</summary>
    public Runtime.LeaderOptions? Leader { get; init; }

    /// <summary>Whether jobs may reach into machines: host network, host paths, privileges.</summary>
    public bool AllowHostAccess { get; init; }

    /// <summary>Whether machines are watched, to notice soon that one does not answer.</summary>
    public bool WatchNodes { get; init; } = true;

    /// <summary>What jobs get that do not say it themselves.</summary>
    public ClusterDefaults Defaults { get; init; } = new();

    /// <summary>File that says where the cluster is; null for the usual places.</summary>
    public string? Kubeconfig { get; init; }

    /// <summary>Whether logs are JSON lines.</summary>
    public bool JsonLogs { get; init; }

    /// <summary>Least level that is logged.</summary>
    public LogLevel LogLevel { get; init; } = LogLevel.Information;

    /// <summary>Stops when values make no sense, alone or together.</summary>
    /// <exception cref="ConfigException">With every problem.</exception>
    public void Check()
    {
        var errors = new ConfigErrors();
        InRange(MetricsPort, 0, 65_535, "--metrics-port", errors);
        InRange(HealthPort, 0, 65_535, "--health-port", errors);
        InRange(Workers, 1, 1000, "--workers", errors);
        InRange(PodParallelism, 1, 1000, "--pod-parallelism", errors);
        InRange(RequestsPerSecond, 0.1, 100_000, "--qps", errors);
        InRange(RequestBurst, 1, 100_000, "--burst", errors);
        InRange(ProgressInterval.TotalSeconds, 0.1, 3600, "--progress-interval", errors);
        InRange(Resync.TotalSeconds, 1, 86_400, "--resync", errors);
        if (MetricsPort == 0 && HealthPort == 0)
        {
            errors.Add("--health-port", "there is no port for /healthz and /readyz", "give one, as metrics are switched off");
        }

        if (MetricsPort == HealthPort && HealthPort != 0 && SecureMetrics)
        {
            errors.Add("--health-port", $"{HealthPort} is the port of secure metrics, which asks for a token", "give another one");
        }

        if (SecureMetrics && (MetricsPort == 0 || HealthPort == 0))
        {
            errors.Add(MetricsPort == 0 ? "--metrics-port" : "--health-port", "secure metrics and probes need a port each",
                "give both, as probes have neither TLS nor a token");
        }

        if (MetricsCertificate is not null && !SecureMetrics)
        {
            errors.Add("--metrics-certificate", "metrics are not served over TLS", "add --secure-metrics=true, or remove it");
        }

        Leader?.Check(errors);
        Defaults.Check(errors);
        errors.ThrowIfAny("the operator's command line and environment");
    }

    private static void InRange(double value, double least, double most, string name, ConfigErrors errors)
    {
        if (!(value >= least && value <= most))
        {
            errors.Add(name, FormattableString.Invariant($"{value} is out of range"),
                FormattableString.Invariant($"use a value from {least} to {most}"));
        }
    }
}

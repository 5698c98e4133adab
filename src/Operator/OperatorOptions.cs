namespace DeepSpeedSharp.Operator;

/// <summary>How the operator runs.</summary>
internal sealed record OperatorOptions
{
    /// <summary>Namespace to look after; null for all.</summary>
    public string? Namespace { get; init; }

    /// <summary>Port of health and metrics.</summary>
    public int MetricsPort { get; init; } = 8080;

    /// <summary>Time between two questions to rank 0 of a job.</summary>
    public TimeSpan ProgressInterval { get; init; } = TimeSpan.FromSeconds(5);

    /// <summary>Jobs that are looked at at a time.</summary>
    public int Workers { get; init; } = 4;

    /// <summary>Requests per second to the API server in the long run.</summary>
    public double RequestsPerSecond { get; init; } = 50;

    /// <summary>Requests that may be sent at once.</summary>
    public int RequestBurst { get; init; } = 100;

    /// <summary>The lease by which one of several replicas is chosen; null for a single one.</summary>
    public Runtime.LeaderOptions? Leader { get; init; }

    /// <summary>Whether jobs may reach into machines: host network, host paths, privileges.</summary>
    public bool AllowHostAccess { get; init; }

    /// <summary>The gang scheduler of jobs that name none.</summary>
    public Jobs.GangScheduler UsualGang { get; init; }

    /// <summary>Whether machines are watched, to notice soon that one does not answer.</summary>
    public bool WatchNodes { get; init; } = true;

    /// <summary>File that says where the cluster is; null for the usual places.</summary>
    public string? Kubeconfig { get; init; }

    /// <summary>Whether logs are JSON lines.</summary>
    public bool JsonLogs { get; init; }

    /// <summary>Least level that is logged.</summary>
    public LogLevel LogLevel { get; init; } = LogLevel.Information;
}

using System.CommandLine;
using DeepSpeedSharp.Config;
using DeepSpeedSharp.Jobs;
using DeepSpeedSharp.Operator.Planning;
using DeepSpeedSharp.Operator.Runtime;
using k8s.Exceptions;
using static DeepSpeedSharp.Operator.Commands.Variables;

namespace DeepSpeedSharp.Operator.Commands;

/// <summary><c>deepspeed-operator</c>: runs the operator. Options can also be environment variables.</summary>
internal static class RunCommand
{
    private static readonly Option<IReadOnlyList<string>> Namespaces = Variables.Option<IReadOnlyList<string>>("--namespaces", "WATCH_NAMESPACES", [], Names,
        "Namespaces to look after, with commas between them; all when left out.");
    private static readonly Option<int> MetricsPort = Variables.Option("--metrics-port", "METRICS_PORT", 8080, Int,
        "Port of /metrics; 0 for none.");
    private static readonly Option<int> HealthPort = Variables.Option("--health-port", "HEALTH_PORT", 0, Int,
        "Port of /healthz and /readyz; the metrics port serves them too, unless it is secure.");
    private static readonly Option<bool> SecureMetrics = Variables.Option("--secure-metrics", "SECURE_METRICS", false, bool.Parse,
        "true serves /metrics over TLS, to those whom a review of their token lets read it.");
    private static readonly Option<string?> Certificate = Variables.Option("--metrics-certificate", "METRICS_CERTIFICATE", null, Text,
        "Folder with tls.crt and tls.key for --secure-metrics; a certificate of its own when left out.");
    private static readonly Option<double> ProgressInterval = Variables.Option("--progress-interval", "PROGRESS_INTERVAL", 5.0, Real,
        "Seconds between two looks at the progress of a job.");
    private static readonly Option<int> Workers = Variables.Option("--workers", "WORKERS", 10, Int, "Jobs that are looked at at a time.");
    private static readonly Option<int> PodParallelism = Variables.Option("--pod-parallelism", "POD_PARALLELISM", 50, Int,
        "Pods of one job that are created or deleted at a time.");
    private static readonly Option<double> Resync = Variables.Option("--resync", "RESYNC_SECONDS", 600.0, Real,
        "Seconds after which each job is looked at without an event.");
    private static readonly Option<double> Qps = Variables.Option("--qps", "API_QPS", 50.0, Real, "Requests per second to the API server in the long run.");
    private static readonly Option<int> Burst = Variables.Option("--burst", "API_BURST", 100, Int, "Requests that may be sent at once.");
    private static readonly Option<string> Format = Variables.Option("--log-format", "LOG_FORMAT", "text",
        t => t is "text" or "json" ? t : throw new FormatException(), "text or json.");
    private static readonly Option<LogLevel> Level = Variables.Option("--log-level", "LOG_LEVEL", LogLevel.Information,
        t => Enum.Parse<LogLevel>(t == "info" ? nameof(LogLevel.Information) : t, ignoreCase: true), "Debug, Information, Warning or Error.");
    private static readonly Option<bool> HostAccess = Variables.Option("--allow-host-access", "ALLOW_HOST_ACCESS", false, bool.Parse,
        "true lets jobs use host network, host paths and privileged containers.");
    private static readonly Option<bool> Nodes = Variables.Option("--watch-nodes", "WATCH_NODES", true, bool.Parse,
        "false does not watch the machines, whose loss is then noticed by their pods only.");
    private static readonly Option<bool> Elect = Variables.Option("--leader-elect", "LEADER_ELECT", false, bool.Parse,
        "true chooses one of several replicas by a Lease in POD_NAMESPACE.");
    private static readonly Option<string> LeaseName = Variables.Option("--lease-name", "LEASE_NAME", "deepspeed-operator", t => t, "Name of that Lease.");
    private static readonly Option<TimeSpan> LeaseDuration = Variables.Option("--lease-duration", "LEASE_DURATION", TimeSpan.FromSeconds(15), Duration,
        "How long others wait for a leader that is silent, for example 15s.");
    private static readonly Option<TimeSpan> RenewDeadline = Variables.Option("--renew-deadline", "RENEW_DEADLINE", TimeSpan.FromSeconds(10), Duration,
        "How long a leader that cannot renew goes on.");
    private static readonly Option<TimeSpan> RetryPeriod = Variables.Option("--retry-period", "RETRY_PERIOD", TimeSpan.FromSeconds(2), Duration,
        "Time between two tries to take or renew the lease.");
    private static readonly Option<string?> Image = Variables.Option("--default-image", "DEFAULT_IMAGE", null, Text, "Image of jobs that name none.");
    private static readonly Option<string?> SharedMemory = Variables.Option("--default-shm-size", "DEFAULT_SHM_SIZE", null, Text,
        "Largest size of /dev/shm for jobs that name none; half of their memory limit when left out.");
    private static readonly Option<string?> Scheduler = Variables.Option("--default-scheduler", "DEFAULT_SCHEDULER", null, Text,
        "Scheduler of jobs that name none.");
    private static readonly Option<GangScheduler> Gang = Option("--default-gang-scheduler", "DEFAULT_GANG_SCHEDULER", GangScheduler.None,
        t => Enum.Parse<GangScheduler>(t, ignoreCase: true), "Gang scheduler of jobs that name none: None, Volcano, Coscheduling or Kueue.");
    private static readonly Option<int?> NodeLoss = Variables.Option<int?>("--default-node-loss", "DEFAULT_NODE_LOSS_SECONDS", null, t => Int(t),
        "restart.nodeLossSeconds of jobs that do not say it.");
    private static readonly Option<int?> Grace = Variables.Option<int?>("--default-checkpoint-grace", "DEFAULT_CHECKPOINT_GRACE_SECONDS", null, t => Int(t),
        "checkpoint.gracePeriodSeconds of jobs that do not say it.");
    private static readonly Option<string?> Kubeconfig = new("--kubeconfig")
    {
        Description = "File that says where the cluster is; when left out, the service account of the pod, or the files that kubectl reads.",
    };

    /// <summary>Creates the command.</summary>
    public static RootCommand Create()
    {
        var root = new RootCommand("Runs DeepSpeedJobs on Kubernetes.")
        {
            Namespaces, MetricsPort, HealthPort, SecureMetrics, Certificate, ProgressInterval, Workers, PodParallelism, Resync, Qps,
            Burst, Format, Level, HostAccess, Nodes, Elect, LeaseName, LeaseDuration, RenewDeadline, RetryPeriod, Image, SharedMemory,
            Scheduler, Gang, NodeLoss, Grace, Kubeconfig,
        };
        root.SetAction(async (result, cancel) =>
        {
            OperatorOptions options = Read(result);
            try
            {
                options.Check();
                await OperatorHost.RunAsync(options, cancel);
                return 0;
            }
            catch (ConfigException e)
            {
                await Console.Error.WriteLineAsync(e.Message);
                return ExitCodes.Usage;
            }
            catch (LeadershipLostException e)
            {
                // As it should be: the pod starts again, and is a replica that does not lead.
                await Console.Error.WriteLineAsync($"deepspeed-operator: {e.Message}");
                return ExitCodes.Stopped;
            }
            catch (KubeConfigException e)
            {
                await Console.Error.WriteLineAsync(
                    $"--kubeconfig: {e.Message}; give a file that kubectl can use, or run in a pod with a service account");
                return ExitCodes.Usage;
            }
        });
        return root;
    }

    /// <summary>The options of a command line, which had no errors.</summary>
    internal static OperatorOptions Read(ParseResult result) => new()
    {
        Namespaces = result.GetValue(Namespaces)!,
        MetricsPort = result.GetValue(MetricsPort),
        HealthPort = result.GetValue(HealthPort),
        SecureMetrics = result.GetValue(SecureMetrics),
        MetricsCertificate = result.GetValue(Certificate),
        ProgressInterval = TimeSpan.FromSeconds(result.GetValue(ProgressInterval)),
        Workers = result.GetValue(Workers),
        PodParallelism = result.GetValue(PodParallelism),
        Resync = TimeSpan.FromSeconds(result.GetValue(Resync)),
        RequestsPerSecond = result.GetValue(Qps),
        RequestBurst = result.GetValue(Burst),
        JsonLogs = result.GetValue(Format) == "json",
        LogLevel = result.GetValue(Level),
        Leader = result.GetValue(Elect) ? Leader(result) : null,
        AllowHostAccess = result.GetValue(HostAccess),
        WatchNodes = result.GetValue(Nodes),
        Kubeconfig = result.GetValue(Kubeconfig),
        Defaults = new ClusterDefaults
        {
            TrainerImage = result.GetValue(Image),
            SharedMemory = result.GetValue(SharedMemory),
            SchedulerName = result.GetValue(Scheduler),
            Gang = result.GetValue(Gang),
            NodeLossSeconds = result.GetValue(NodeLoss),
            CheckpointGracePeriodSeconds = result.GetValue(Grace),
        },
    };

    private static LeaderOptions Leader(ParseResult result) => new()
    {
        Name = result.GetValue(LeaseName)!,
        Namespace = Environment.GetEnvironmentVariable("POD_NAMESPACE") is { Length: > 0 } ns ? ns : "default",
        Identity = $"{Environment.GetEnvironmentVariable("POD_NAME") ?? Environment.MachineName}_{Guid.NewGuid():N}",
        Duration = result.GetValue(LeaseDuration),
        RenewDeadline = result.GetValue(RenewDeadline),
        RetryPeriod = result.GetValue(RetryPeriod),
    };
}

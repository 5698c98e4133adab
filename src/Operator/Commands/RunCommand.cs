using System.CommandLine;
using System.Globalization;
using DeepSpeedSharp.Jobs;
using DeepSpeedSharp.Operator.Runtime;

namespace DeepSpeedSharp.Operator.Commands;

/// <summary><c>deepspeed-operator</c>: runs the operator. Options can also be environment variables.</summary>
internal static class RunCommand
{
    /// <summary>Creates the command.</summary>
    public static RootCommand Create()
    {
        Option<string?> ns = Option<string?>("--namespace", "WATCH_NAMESPACE", null, t => t, "Namespace to look after; all when left out.");
        Option<int> port = Option("--metrics-port", "METRICS_PORT", 8080, Int, "Port of /metrics, /healthz and /readyz.");
        Option<double> interval = Option("--progress-interval", "PROGRESS_INTERVAL", 5.0, Real,
            "Seconds between two looks at the progress of a job.");
        Option<int> workers = Option("--workers", "WORKERS", 4, Int, "Jobs that are looked at at a time.");
        Option<double> qps = Option("--qps", "API_QPS", 50.0, Real, "Requests per second to the API server in the long run.");
        Option<int> burst = Option("--burst", "API_BURST", 100, Int, "Requests that may be sent at once.");
        Option<string> format = Option("--log-format", "LOG_FORMAT", "text", t => t, "text or json.");
        Option<LogLevel> level = Option("--log-level", "LOG_LEVEL", LogLevel.Information,
            t => Enum.Parse<LogLevel>(t, ignoreCase: true), "Debug, Information, Warning or Error.");
        Option<bool> hostAccess = Option("--allow-host-access", "ALLOW_HOST_ACCESS", false, bool.Parse,
            "true lets jobs use host network, host paths and privileged containers.");
        Option<GangScheduler> gang = Option("--gang-scheduler", "GANG_SCHEDULER", GangScheduler.None,
            t => Enum.Parse<GangScheduler>(t, ignoreCase: true), "Gang scheduler of jobs that name none: None, Volcano, Coscheduling or Kueue.");
        Option<bool> nodes = Option("--watch-nodes", "WATCH_NODES", true, bool.Parse,
            "false does not watch the machines, whose loss is then noticed by their pods only.");
        Option<bool> elect = Option("--leader-elect", "LEADER_ELECT", false, bool.Parse,
            "true chooses one of several replicas by a Lease in POD_NAMESPACE.");
        var kubeconfig = new Option<string?>("--kubeconfig")
        {
            Description = "File that says where the cluster is; when left out, the service account of the pod, "
                + "or the files that kubectl reads.",
        };
        format.AcceptOnlyFromAmong("text", "json");
        var root = new RootCommand("Runs DeepSpeedJobs on Kubernetes.")
        {
            ns, port, interval, workers, qps, burst, format, level, hostAccess, gang, nodes, elect, kubeconfig,
        };
        root.SetAction(async (result, cancel) =>
        {
            await OperatorHost.RunAsync(new OperatorOptions
            {
                Namespace = string.IsNullOrEmpty(result.GetValue(ns)) ? null : result.GetValue(ns),
                MetricsPort = result.GetValue(port),
                ProgressInterval = TimeSpan.FromSeconds(result.GetValue(interval)),
                Workers = result.GetValue(workers),
                RequestsPerSecond = result.GetValue(qps),
                RequestBurst = result.GetValue(burst),
                JsonLogs = result.GetValue(format) == "json",
                LogLevel = result.GetValue(level),
                Leader = result.GetValue(elect) ? Leader() : null,
                AllowHostAccess = result.GetValue(hostAccess),
                UsualGang = result.GetValue(gang),
                WatchNodes = result.GetValue(nodes),
                Kubeconfig = result.GetValue(kubeconfig),
            }, cancel);
            return 0;
        });
        return root;
    }

    private static LeaderOptions Leader() => new()
    {
        Name = "deepspeed-operator",
        Namespace = Environment.GetEnvironmentVariable("POD_NAMESPACE") is { Length: > 0 } ns ? ns : "default",
        Identity = $"{Environment.GetEnvironmentVariable("POD_NAME") ?? Environment.MachineName}_{Guid.NewGuid():N}",
    };

    private static Option<T> Option<T>(string name, string variable, T value, Func<string, T> parse, string description) =>
        new(name)
        {
            Description = $"{description} Also {variable}.",
            DefaultValueFactory = result =>
            {
                string? text = Environment.GetEnvironmentVariable(variable);
                if (string.IsNullOrEmpty(text))
                {
                    return value;
                }

                try
                {
                    return parse(text);
                }
                catch (Exception e) when (e is FormatException or ArgumentException or OverflowException)
                {
                    result.AddError($"{variable}: \"{text}\" makes no sense for {name}");
                    return value;
                }
            },
        };

    private static int Int(string text) => int.Parse(text, CultureInfo.InvariantCulture);

    private static double Real(string text) => double.Parse(text, CultureInfo.InvariantCulture);
}

using System.CommandLine;
using System.Globalization;
using DeepSpeedSharp.Jobs;
using DeepSpeedSharp.Operator.Commands;
using Microsoft.Extensions.Logging;
using YamlDotNet.RepresentationModel;

namespace DeepSpeedSharp.Operator.Tests.Chart;

/// <summary>No value of the chart is ignored, and those about the operator arrive in it.</summary>
[Collection(nameof(EnvironmentTests))]
public sealed class ChartValuesTests
{
    private const string Digest = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    // Everything that can be switched is on, so that each value has something to change.
    private static readonly string[] AllOn =
    [
        RenderedChart.Monitoring, "--set", "replicaCount=3", "--set", "podDisruptionBudget.enabled=true", "--set", "networkPolicy.enabled=true",
        "--set", "metrics.secure=true", "--set", "metrics.tlsSecretName=certificate", "--set", "metrics.serviceMonitor.enabled=true",
        "--set", "metrics.podMonitor.enabled=true", "--set", "metrics.prometheusRule.enabled=true", "--set", "metrics.grafanaDashboard.enabled=true",
        "--set", "watchNamespaces[0]=team-a", "--set", "extraVolumes[0].name=extra",
    ];

    // What a value is changed to where that does not follow from what it is.
    private static readonly Dictionary<string, string[]> Changes = new()
    {
        ["image.digest"] = [$"image.digest={Digest}"],
        ["image.pullPolicy"] = ["image.pullPolicy=Always"],
        ["imagePullSecrets"] = ["imagePullSecrets[0].name=other"],
        ["leaderElection.enabled"] = ["leaderElection.enabled=false", "replicaCount=1", "podDisruptionBudget.enabled=false"],
        ["watchNamespaces"] = ["watchNamespaces[1]=team-b"],
        ["rbac.aggregateClusterRoles"] = ["rbac.aggregateClusterRoles=true"],
        ["rbac.gangSchedulers"] = ["rbac.gangSchedulers[0]=kueue"],
        ["defaults.gangScheduler"] = ["defaults.gangScheduler=volcano"],
        ["controller.watchNodes"] = ["controller.watchNodes=true"],
        ["controller.logLevel"] = ["controller.logLevel=debug"],
        ["controller.logFormat"] = ["controller.logFormat=text"],
        ["metrics.enabled"] = ["metrics.enabled=false", "metrics.secure=false", "metrics.tlsSecretName=", "metrics.serviceMonitor.enabled=false"],
        ["metrics.port"] = ["metrics.port=9090"],
        ["metrics.secure"] = ["metrics.secure=false", "metrics.tlsSecretName="],
        ["metrics.serviceMonitor.relabelings"] = ["metrics.serviceMonitor.relabelings[0].action=drop"],
        ["metrics.serviceMonitor.metricRelabelings"] = ["metrics.serviceMonitor.metricRelabelings[0].action=drop"],
        ["metrics.serviceMonitor.scrapeTimeout"] = ["metrics.serviceMonitor.scrapeTimeout=9s"],
        ["metrics.grafanaDashboard.labels.grafana_dashboard"] = ["metrics.grafanaDashboard.labels.grafana_dashboard=other"],
        ["securityContext.capabilities.drop"] = ["securityContext.capabilities.drop[0]=NET_RAW"],
        ["tolerations"] = ["tolerations[0].operator=Exists"],
        ["topologySpreadConstraints"] = ["topologySpreadConstraints[0].topologyKey=zone"],
        ["extraArgs"] = ["extraArgs[0]=--log-format=text"],
        ["extraEnv"] = ["extraEnv[0].name=NAME"],
        ["extraVolumes"] = ["extraVolumes[1].name=other"],
        ["extraVolumeMounts"] = ["extraVolumeMounts[0].name=other", "extraVolumeMounts[0].mountPath=/other"],
        ["networkPolicy.ingressFrom"] = ["networkPolicy.ingressFrom[0].podSelector.matchLabels.a=b"],
    };

    // Those of the operator, each with what it is there.
    private static readonly (string Change, Func<OperatorOptions, object?> Read, object Expected)[] Arriving =
    [
        ("controller.concurrency=3", o => o.Workers, 3),
        ("controller.podParallelism=7", o => o.PodParallelism, 7),
        ("controller.kubeApi.qps=11", o => o.RequestsPerSecond, 11.0),
        ("controller.kubeApi.burst=12", o => o.RequestBurst, 12),
        ("controller.resyncSeconds=90", o => o.Resync, TimeSpan.FromSeconds(90)),
        ("controller.progressSeconds=4", o => o.ProgressInterval, TimeSpan.FromSeconds(4)),
        ("controller.logLevel=info", o => o.LogLevel, LogLevel.Information),
        ("controller.logLevel=warning", o => o.LogLevel, LogLevel.Warning),
        ("controller.logFormat=json", o => o.JsonLogs, true),
        ("controller.allowHostAccess=true", o => o.AllowHostAccess, true),
        ("controller.watchNodes=false", o => o.WatchNodes, false),
        ("watchNamespaces[0]=team-a", o => string.Join(',', o.Namespaces), "team-a"),
        ("watchNamespaces[0]=team-a", o => o.WatchNodes, false),
        ("leaderElection.leaseDuration=1m30s", o => o.Leader!.Duration, TimeSpan.FromSeconds(90)),
        ("leaderElection.renewDeadline=8s", o => o.Leader!.RenewDeadline, TimeSpan.FromSeconds(8)),
        ("leaderElection.retryPeriod=500ms", o => o.Leader!.RetryPeriod, TimeSpan.FromMilliseconds(500)),
        ("leaderElection.enabled=true", o => o.Leader!.Name, "release-deepspeed-operator"),
        ("leaderElection.enabled=false", o => o.Leader is null, true),
        ("healthPort=8082", o => o.HealthPort, 8082),
        ("metrics.port=9090", o => o.MetricsPort, 9090),
        ("metrics.enabled=false", o => o.MetricsPort, 0),
        ("metrics.secure=true", o => o.SecureMetrics, true),
        ("defaults.trainerImage=worker:1", o => o.Defaults.TrainerImage!, "worker:1"),
        ("defaults.shmSizeLimit=8Gi", o => o.Defaults.SharedMemory!, "8Gi"),
        ("defaults.schedulerName=other", o => o.Defaults.SchedulerName!, "other"),
        ("defaults.gangScheduler=kueue", o => o.Defaults.Gang, GangScheduler.Kueue),
        ("defaults.nodeLossSeconds=40", o => o.Defaults.NodeLossSeconds!, 40),
        ("defaults.checkpointGracePeriodSeconds=240", o => o.Defaults.CheckpointGracePeriodSeconds!, 240),
    ];

    [Fact]
    public async Task EveryValue_ChangesWhatIsInstalled()
    {
        (int code, string before, string error) = await RenderedChart.RenderAsync(AllOn);
        Assert.True(code == 0, error);
        string[] paths = [.. Leaves(Values(), "")];
        Assert.NotEmpty(paths);
        Assert.All(Changes.Keys, path => Assert.Contains(path, paths));

        foreach ((string path, string[] changes) in paths.Select(p => (p, Changes.GetValueOrDefault(p) ?? [Change(p)])))
        {
            (code, string after, error) = await RenderedChart.RenderAsync([.. AllOn, .. changes.SelectMany(c => new[] { "--set", c })]);
            Assert.True(code == 0, $"{path}: {error}");
            Assert.True(before != after, $"{string.Join(", ", changes)} changes nothing");
        }
    }

    [Fact]
    public async Task Values_OfTheOperator_ArriveInIt()
    {
        foreach ((string change, Func<OperatorOptions, object?> read, object expected) in Arriving)
        {
            OperatorOptions options = await OptionsAsync("--set", change);
            Assert.True(Equals(expected, read(options)), $"{change}: {read(options)}");
            options.Check();
        }
    }

    private static async Task<OperatorOptions> OptionsAsync(params string[] change)
    {
        YamlMappingNode deployment = (await RenderedChart.ObjectsAsync(change)).Single(o => ((YamlScalarNode)o["kind"]).Value == "Deployment");
        var container = (YamlMappingNode)deployment["spec"]["template"]["spec"]["containers"][0];
        Dictionary<string, string> variables = ((YamlSequenceNode)container["env"]).OfType<YamlMappingNode>()
            .Where(v => v.Children.ContainsKey("value"))
            .ToDictionary(v => ((YamlScalarNode)v["name"]).Value!, v => ((YamlScalarNode)v["value"]).Value!);
        return EnvironmentTests.With(variables, () =>
        {
            ParseResult result = RunCommand.Create().Parse([]);
            Assert.Empty(result.Errors);
            return RunCommand.Read(result);
        });
    }

    private static YamlMappingNode Values()
    {
        var yaml = new YamlStream();
        yaml.Load(new StringReader(File.ReadAllText(RepositoryFiles.Path("deploy", "helm", "deepspeed-operator", "values.yaml"))));
        return (YamlMappingNode)yaml.Documents[0].RootNode;
    }

    private static IEnumerable<string> Leaves(YamlMappingNode node, string prefix) => node.Children.SelectMany(child =>
    {
        string path = prefix + ((YamlScalarNode)child.Key).Value;
        return child.Value is YamlMappingNode { Children.Count: > 0 } inner ? Leaves(inner, path + ".") : [path];
    });

    private static string Change(string path)
    {
        YamlNode value = path.Split('.').Aggregate((YamlNode)Values(), (node, name) => node[name]);
        return value switch
        {
            YamlScalarNode { Value: "true" } => $"{path}=false",
            YamlScalarNode { Value: "false" } => AllOn.Contains($"{path}=true") ? $"{path}=false" : $"{path}=true",
            YamlScalarNode scalar when int.TryParse(scalar.Value, CultureInfo.InvariantCulture, out int number) => $"{path}={number + 1}",
            YamlScalarNode scalar when scalar.Value is [>= '0' and <= '9', ..] && scalar.Value.EndsWith('s') => $"{path}=7s",
            YamlScalarNode => $"{path}=other",
            YamlMappingNode => $"{path}.key=other",
            _ => throw new InvalidOperationException($"say in {nameof(Changes)} how {path} is changed"),
        };
    }
}

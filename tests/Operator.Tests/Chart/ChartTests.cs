namespace DeepSpeedSharp.Operator.Tests.Chart;

/// <summary>Every switch of the chart makes the objects it says, and a cluster without an API gets a sentence.</summary>
public sealed class ChartTests
{
    [Fact]
    public async Task Defaults_AreWhatAnyClusterHas()
    {
        IReadOnlyList<(string Kind, string Name)> objects = await Objects();

        Assert.Equal(
            ["ClusterRole", "ClusterRole", "ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition", "Deployment", "Pod", "Role",
                "RoleBinding", "Service", "ServiceAccount"],
            objects.Select(o => o.Kind).Order(StringComparer.Ordinal));
    }

    [Theory]
    [InlineData("networkPolicy.enabled=true", "NetworkPolicy")]
    [InlineData("metrics.serviceMonitor.enabled=true", "ServiceMonitor")]
    [InlineData("metrics.podMonitor.enabled=true", "PodMonitor")]
    [InlineData("metrics.prometheusRule.enabled=true", "PrometheusRule")]
    [InlineData("metrics.grafanaDashboard.enabled=true", "ConfigMap")]
    public async Task Switch_AddsItsObjects(string change, string kind)
    {
        IReadOnlyList<(string Kind, string Name)> before = await Objects(RenderedChart.Monitoring);

        IReadOnlyList<(string Kind, string Name)> after = await Objects(RenderedChart.Monitoring, "--set", change);

        Assert.All(after.Except(before), added => Assert.Equal(kind, added.Kind));
        Assert.NotEmpty(after.Except(before));
        Assert.Empty(before.Except(after));
    }

    [Theory]
    [InlineData("crds.install=false", "CustomResourceDefinition")]
    [InlineData("rbac.create=false", "ClusterRole")]
    [InlineData("serviceAccount.create=false", "ServiceAccount")]
    [InlineData("leaderElection.enabled=false", "Role")]
    public async Task Switch_LeavesItsObjectsOut(string change, string kind)
    {
        Assert.Contains(await Objects(), o => o.Kind == kind);
        Assert.DoesNotContain(await Objects("--set", change), o => o.Kind == kind);
    }

    [Theory]
    [InlineData("metrics.serviceMonitor.enabled", "ServiceMonitor")]
    [InlineData("metrics.podMonitor.enabled", "PodMonitor")]
    [InlineData("metrics.prometheusRule.enabled", "PrometheusRule")]
    public async Task Monitor_WithoutThePrometheusOperator_IsASentence(string change, string kind)
    {
        (int code, _, string error) = await RenderedChart.RenderAsync("--set", change + "=true");

        Assert.NotEqual(0, code);
        Assert.Contains($"{change} is true, but this cluster does not have monitoring.coreos.com/v1/{kind}; install the Prometheus operator first", error);
    }

    [Theory]
    [InlineData("metrics.serviceMonitors.enabled=true", "serviceMonitors")]
    [InlineData("metrics.podMonitor.interval=soon", "interval")]
    [InlineData("image.digest=latest", "digest")]
    [InlineData("replicaCount=many", "replicaCount")]
    [InlineData("leaderElection.leaseDuration=long", "leaseDuration")]
    [InlineData("controller.logLevel=loud", "logLevel")]
    [InlineData("controller.concurrency=0", "concurrency")]
    [InlineData("watchNamespaces[0]=Team_A", "watchNamespaces")]
    [InlineData("webhook.enabled=true", "webhook")]
    public async Task Value_ThatDoesNotFit_IsRefusedByName(string change, string name)
    {
        (int code, _, string error) = await RenderedChart.RenderAsync("--set", change);

        Assert.NotEqual(0, code);
        Assert.Contains(name, error);
    }

    [Fact]
    public async Task Lists_AreHandedToThePod()
    {
        (_, string text, _) = await RenderedChart.RenderAsync("--set", "topologySpreadConstraints[0].topologyKey=zone",
            "--set", "extraVolumes[0].name=certificates", "--set", "extraVolumeMounts[0].name=certificates",
            "--set", "extraVolumeMounts[0].mountPath=/certificates");

        Assert.Contains("topologyKey: zone", text);
        Assert.Contains("mountPath: /certificates", text);
    }

    private static async Task<IReadOnlyList<(string Kind, string Name)>> Objects(params string[] options) =>
        [.. (await RenderedChart.NamesAsync(options)).Select(o => (o.Kind, o.Name))];
}

namespace DeepSpeedSharp.Operator.Tests.Chart;

/// <summary>Values that do not go together stop with a sentence, before anything is installed.</summary>
public sealed class ChartGateTests
{
    [Theory]
    [InlineData("replicaCount is 2, but leaderElection.enabled is false", "replicaCount=2", "leaderElection.enabled=false")]
    [InlineData("podDisruptionBudget.minAvailable is 1 and replicaCount 1, so no machine", "podDisruptionBudget.enabled=true")]
    [InlineData("metrics.port and healthPort are both 8081", "metrics.port=8081")]
    [InlineData("metrics.tlsSecretName is set, but metrics.secure is false", "metrics.tlsSecretName=certificate")]
    [InlineData("metrics.secure is true, but metrics.enabled is false", "metrics.secure=true", "metrics.enabled=false")]
    [InlineData("serviceAccount.automount is false and there are no extraVolumes", "serviceAccount.automount=false")]
    [InlineData("metrics.serviceMonitor.enabled is true, but metrics.enabled is false", "metrics.serviceMonitor.enabled=true", "metrics.enabled=false")]
    public async Task Values_ThatDoNotGoTogether_AreASentence(string sentence, params string[] changes)
    {
        (int code, string text, string error) = await RenderedChart.RenderAsync([RenderedChart.Monitoring, .. changes.SelectMany(c => new[] { "--set", c })]);

        Assert.NotEqual(0, code);
        Assert.Empty(text);
        Assert.Contains(sentence, error);
    }

    [Theory]
    [InlineData("v1.20.0", "policy/v1beta1")]
    [InlineData("v1.34.1-eks-1", "policy/v1")]
    public async Task Budget_IsOfTheVersionThatTheClusterHas(string cluster, string version)
    {
        (_, string text, string error) = await RenderedChart.RenderAsync("--kube-version", cluster,
            "--set", "replicaCount=2", "--set", "podDisruptionBudget.enabled=true");

        Assert.Contains($"apiVersion: {version}\nkind: PodDisruptionBudget", text);
        Assert.Empty(error);
    }

    [Theory]
    [InlineData("type: RollingUpdate, rollingUpdate: { maxSurge: 1, maxUnavailable: 0 }")]
    [InlineData("type: RollingUpdate, rollingUpdate: { maxSurge: 0, maxUnavailable: 1 }", "hostNetwork=true")]
    [InlineData("type: Recreate", "leaderElection.enabled=false")]
    public async Task Strategy_NeverHasTwoThatAct(string strategy, params string[] changes)
    {
        (_, string text, _) = await RenderedChart.RenderAsync([.. changes.SelectMany(c => new[] { "--set", c })]);

        Assert.Contains($"strategy: {{ {strategy} }}", text);
    }
}

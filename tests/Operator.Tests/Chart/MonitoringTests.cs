using System.Text;
using System.Text.Json;
using System.Text.RegularExpressions;

namespace DeepSpeedSharp.Operator.Tests.Chart;

/// <summary>Alerts and dashboards ask for metrics that exist, and alerts fire when they should.</summary>
public sealed partial class MonitoringTests
{
    private static readonly string Files = RepositoryFiles.Path("deploy", "helm", "deepspeed-operator", "files");

    // Of other programs, which a cluster may or may not have.
    private static readonly string[] Foreign = ["DCGM_", "kubelet_"];

    [Theory]
    [InlineData("alerts.yaml")]
    [InlineData("dashboard-operator.json")]
    [InlineData("dashboard-jobs.json")]
    public async Task EveryMetric_IsServed(string file)
    {
        HashSet<string> served = [.. await OperatorNames(), .. WorkerNames()];
        string[] asked = [.. MetricName().Matches(await File.ReadAllTextAsync(Path.Combine(Files, file), TestContext.Current.CancellationToken))
            .Select(m => m.Value).Distinct()];

        Assert.NotEmpty(asked);
        Assert.All(asked.Where(name => !Foreign.Any(name.StartsWith)),
            name => Assert.True(served.Contains(name) || served.Contains(Histogram().Replace(name, "")), name));
    }

    [Theory]
    [InlineData("dashboard-operator.json")]
    [InlineData("dashboard-jobs.json")]
    public void Panels_FillTheGridWithoutOverlap(string file)
    {
        using var board = JsonDocument.Parse(File.ReadAllText(Path.Combine(Files, file)));
        var taken = new HashSet<(int, int)>();
        foreach (JsonElement place in board.RootElement.GetProperty("panels").EnumerateArray().Select(p => p.GetProperty("gridPos")))
        {
            (int x, int y, int w, int h) = (place.GetProperty("x").GetInt32(), place.GetProperty("y").GetInt32(),
                place.GetProperty("w").GetInt32(), place.GetProperty("h").GetInt32());
            Assert.InRange(x + w, 1, 24);
            Assert.All(Enumerable.Range(x, w).SelectMany(i => Enumerable.Range(y, h).Select(j => (i, j))), cell => Assert.True(taken.Add(cell)));
        }
    }

    [Fact]
    public async Task Alerts_FireAndStaySilent_AsPromtoolChecks()
    {
        Assert.SkipUnless(RenderedChart.Has("promtool"), "no promtool: run tests/cluster/install.sh");

        (int code, string text, string error) = await RenderedChart.RunAsync("promtool",
            ["test", "rules", RepositoryFiles.Path("tests", "Operator.Tests", "Chart", "alerts.test.yaml")]);

        Assert.True(code == 0, text + error);
    }

    [Fact]
    public void EveryAlert_HasItsParagraph()
    {
        string page = File.ReadAllText(RepositoryFiles.Path("docs", "alerts.md"));
        string[] alerts = [.. AlertName().Matches(File.ReadAllText(Path.Combine(Files, "alerts.yaml"))).Select(m => m.Groups[1].Value)];

        Assert.NotEmpty(alerts);
        Assert.All(alerts, alert => Assert.Contains($"## {alert}\n", page));
    }

    private static async Task<IEnumerable<string>> OperatorNames()
    {
        using var text = new MemoryStream();
        await new OperatorMetrics().Registry.CollectAndExportAsTextAsync(text, TestContext.Current.CancellationToken);
        return TypeLine().Matches(Encoding.UTF8.GetString(text.ToArray())).Select(m => m.Groups[1].Value);
    }

    // The worker is another program; its names stand in one file.
    private static IEnumerable<string> WorkerNames() => WorkerMetric()
        .Matches(File.ReadAllText(RepositoryFiles.Path("src", "WorkerImage", "MetricsEndpoint.cs"))).Select(m => m.Groups[1].Value);

    [GeneratedRegex(@"\b(?:deepspeedjob|deepspeed|controller_runtime|workqueue|DCGM|kubelet)_\w+")]
    private static partial Regex MetricName();

    [GeneratedRegex("_(?:bucket|sum|count)$")]
    private static partial Regex Histogram();

    [GeneratedRegex(@"^# TYPE (\w+) ", RegexOptions.Multiline)]
    private static partial Regex TypeLine();

    [GeneratedRegex("\"(deepspeed_\\w+)\"")]
    private static partial Regex WorkerMetric();

    [GeneratedRegex(@"- alert: (\w+)")]
    private static partial Regex AlertName();
}

using System.Text.RegularExpressions;
using DeepSpeedSharp.Operator.Tests.Chart;

namespace DeepSpeedSharp.Operator.Tests.Dashboards;

/// <summary>Every panel shows something of a recorded cluster, in a real Prometheus. <c>DEEPSPEED_DRAW_DASHBOARDS=1</c> also draws
/// them into docs/images, for people to look at.</summary>
public sealed partial class DashboardTests(RecordedPrometheus recorded) : IClassFixture<RecordedPrometheus>
{
    [Theory]
    [InlineData("dashboard-jobs.json")]
    [InlineData("dashboard-operator.json")]
    public async Task EveryPanel_ShowsData(string file)
    {
        var dashboard = Dashboard.Load(file);
        IReadOnlyDictionary<string, string> variables = await recorded.Prometheus.FillAsync(dashboard);
        var drawn = new List<DrawnPanel>();
        foreach (DashboardPanel panel in dashboard.Panels)
        {
            bool isNumber = panel.Type == "stat";
            var lines = new List<DrawnSeries>();
            foreach (DashboardTarget target in panel.Targets)
            {
                IReadOnlyList<Series> found = await recorded.Prometheus.QueryAsync(target.Expression, variables, isNumber);

                Assert.True(found.Count > 0, $"{panel.Title}: no data for {target.Expression}");
                Assert.True(found.Sum(s => s.Points.Count(p => double.IsFinite(p.Value))) >= (isNumber ? 1 : 10), $"{panel.Title}: only gaps for {target.Expression}");
                lines.AddRange(found.Select(s => new DrawnSeries(Name(target.Legend, s), s.Points)));
            }

            Assert.True(lines.Count == 1 || lines.DistinctBy(l => l.Name).Count() == lines.Count,
                $"{panel.Title}: series that look alike: {string.Join(", ", lines.Select(l => l.Name))}");
            Assert.True(Units.Known.Contains(panel.Unit), $"{panel.Title}: no unit {panel.Unit}");
            Assert.All(panel.RightAxis.Keys, name => Assert.Contains(lines, l => l.Name == name));
            drawn.Add(new DrawnPanel(panel, lines));
        }

        if (Environment.GetEnvironmentVariable("DEEPSPEED_DRAW_DASHBOARDS") == "1")
        {
            await DashboardPicture.SaveAsync($"{dashboard.Title}   {string.Join("   ", dashboard.Variables.Select(v => $"{v.Name}: {variables[v.Name]}"))}",
                drawn, RepositoryFiles.Path("docs", "images", Path.ChangeExtension(file, ".png")));
        }
    }

    [Fact]
    public async Task Jobs_ThatTwoReplicasServe_AreCountedOnce()
    {
        var dashboard = Dashboard.Load("dashboard-operator.json");
        DashboardTarget running = dashboard.Panels.Single(p => p.Title == "Running jobs").Targets[0];
        IReadOnlyDictionary<string, string> variables = await recorded.Prometheus.FillAsync(dashboard);

        Series shown = Assert.Single(await recorded.Prometheus.QueryAsync(running.Expression, variables, atTheEnd: true));

        Assert.InRange(RecordedCluster.RunningAtTheEnd, 2, 15);
        Assert.Equal(RecordedCluster.RunningAtTheEnd, shown.Points[0].Value);
    }

    [Fact]
    public async Task Query_ForWhatNobodyServes_ShowsNothing() =>
        Assert.Empty(await recorded.Prometheus.QueryAsync("deepspeed_no_such_metric", new Dictionary<string, string>(), atTheEnd: false));

    [Fact]
    public void Heatmap_AsksForBuckets()
    {
        DashboardPanel[] heatmaps = [.. Dashboard.Load("dashboard-jobs.json").Panels.Where(p => p.Type == "heatmap")];

        // Otherwise Grafana takes cumulative buckets for counts.
        Assert.NotEmpty(heatmaps);
        Assert.All(heatmaps.SelectMany(p => p.Targets), t => Assert.Equal(("heatmap", "{{le}}"), (t.Format, t.Legend)));
    }

    [Fact]
    public void Recording_UsesTheNamesOfTheWorker()
    {
        string source = File.ReadAllText(RepositoryFiles.Path("src", "WorkerImage", "MetricsEndpoint.cs"));

        Assert.All(RecordedWorker.Names, name => Assert.Contains($"\"{name}\"", source));
    }

    private static string Name(string legend, Series series) =>
        Label().Replace(legend, m => series.Labels.GetValueOrDefault(m.Groups[1].Value, ""));

    [GeneratedRegex(@"\{\{ *(\w+) *\}\}")]
    private static partial Regex Label();
}

/// <summary>One Prometheus for all dashboards.</summary>
public sealed class RecordedPrometheus : IAsyncLifetime
{
    private RecordingPrometheus? _prometheus;

    internal RecordingPrometheus Prometheus
    {
        get
        {
            Assert.SkipWhen(_prometheus is null, "no promtool or prometheus: run tests/cluster/install.sh");
            return _prometheus!;
        }
    }

    public async ValueTask InitializeAsync()
    {
        if (RenderedChart.Has("promtool") && RenderedChart.Has("prometheus"))
        {
            _prometheus = await RecordingPrometheus.StartAsync(await RecordedCluster.RecordAsync());
        }
    }

    public ValueTask DisposeAsync() => _prometheus?.DisposeAsync() ?? ValueTask.CompletedTask;
}

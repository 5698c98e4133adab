using System.Diagnostics;
using System.Globalization;
using System.Net;
using System.Net.Sockets;
using System.Text.Json;
using System.Text.RegularExpressions;
using DeepSpeedSharp.Operator.Tests.Chart;

namespace DeepSpeedSharp.Operator.Tests.Dashboards;

/// <summary>A series that a query answered with: its labels, and a value for each time.</summary>
internal sealed record Series(IReadOnlyDictionary<string, string> Labels, IReadOnlyList<(double Time, double Value)> Points);

/// <summary>A real Prometheus that holds a recording, and answers the panels of dashboards as Grafana would ask.</summary>
internal sealed partial class RecordingPrometheus : IAsyncDisposable
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(120);

    private readonly Process _process;
    private readonly HttpClient _http;
    private readonly string _folder;

    private RecordingPrometheus(Process process, HttpClient http, string folder) => (_process, _http, _folder) = (process, http, folder);

    public static async Task<RecordingPrometheus> StartAsync(Recording recording)
    {
        string folder = Directory.CreateTempSubdirectory("recording").FullName;
        string text = Path.Combine(folder, "recording.om");
        recording.Save(text);
        (int code, string output, string error) = await RenderedChart.RunAsync(
            "promtool", ["tsdb", "create-blocks-from", "openmetrics", "--quiet", text, Path.Combine(folder, "data")]);
        Assert.True(code == 0, output + error);
        await File.WriteAllTextAsync(Path.Combine(folder, "prometheus.yml"), "global: { scrape_interval: 30s }\n");
        int port = FreePort();
        string[] arguments =
        [
            $"--config.file={Path.Combine(folder, "prometheus.yml")}", $"--storage.tsdb.path={Path.Combine(folder, "data")}",
            "--storage.tsdb.retention.time=100y", $"--web.listen-address=127.0.0.1:{port}", "--log.level=error",
        ];
        var process = Process.Start(new ProcessStartInfo("prometheus", arguments) { RedirectStandardError = true, RedirectStandardOutput = true })!;
        var http = new HttpClient(new SocketsHttpHandler { UseProxy = false }) { BaseAddress = new Uri($"http://127.0.0.1:{port}"), Timeout = Patience };
        var prometheus = new RecordingPrometheus(process, http, folder);
        await prometheus.UntilReadyAsync();
        return prometheus;
    }

    /// <summary>The variables of a dashboard, each with its first value, or all of them.</summary>
    public async Task<IReadOnlyDictionary<string, string>> FillAsync(Dashboard dashboard)
    {
        // What Grafana makes of a range of three hours, a panel of 800 pixels and scrapes every 30 seconds.
        var values = new Dictionary<string, string> { ["__rate_interval"] = "2m", ["__interval"] = "30s", ["__range"] = "3h" };
        foreach (DashboardVariable variable in dashboard.Variables)
        {
            Match definition = LabelValues().Match(variable.Definition);
            Assert.True(definition.Success, $"{variable.Name}: {variable.Definition}");
            string query = $"/api/v1/label/{definition.Groups[2].Value}/values?match[]={Uri.EscapeDataString(Fill(definition.Groups[1].Value, values))}{Range()}";
            string[] found = [.. (await AskAsync(query)).EnumerateArray().Select(v => v.GetString()!)];
            Assert.True(found.Length > 0, $"{variable.Name} has no value: {variable.Definition}");
            values[variable.Name] = variable.IncludesAll ? $"({string.Join('|', found)})" : found[0];
        }

        return values;
    }

    /// <summary>What a query gives over the whole recording, or at its end.</summary>
    public async Task<IReadOnlyList<Series>> QueryAsync(string expression, IReadOnlyDictionary<string, string> variables, bool atTheEnd)
    {
        string query = Uri.EscapeDataString(Fill(expression, variables));
        JsonElement data = await AskAsync(atTheEnd
            ? $"/api/v1/query?query={query}&time={RecordedCluster.End.ToUnixTimeSeconds()}"
            : $"/api/v1/query_range?query={query}{Range()}&step=30");
        return [.. data.GetProperty("result").EnumerateArray().Select(s => new Series(
            s.GetProperty("metric").EnumerateObject().ToDictionary(l => l.Name, l => l.Value.GetString()!),
            [.. (atTheEnd ? [s.GetProperty("value")] : s.GetProperty("values").EnumerateArray().ToArray()).Select(p =>
                (p[0].GetDouble(), double.Parse(p[1].GetString()!, CultureInfo.InvariantCulture)))]))];
    }

    public async ValueTask DisposeAsync()
    {
        _http.Dispose();
        _process.Kill(entireProcessTree: true);
        await _process.WaitForExitAsync();
        _process.Dispose();
        Directory.Delete(_folder, recursive: true);
    }

    private static string Range() => $"&start={RecordedCluster.Begin.ToUnixTimeSeconds()}&end={RecordedCluster.End.ToUnixTimeSeconds()}";

    private static string Fill(string text, IReadOnlyDictionary<string, string> values)
    {
        foreach ((string name, string value) in values)
        {
            text = text.Replace($"${name}", value, StringComparison.Ordinal).Replace($"${{{name}}}", value, StringComparison.Ordinal);
        }

        Assert.DoesNotMatch(@"\$[A-Za-z_{]", text); // $1 is label_replace's
        return text;
    }

    private async Task<JsonElement> AskAsync(string query)
    {
        using HttpResponseMessage answer = await _http.GetAsync(new Uri(query, UriKind.Relative), TestContext.Current.CancellationToken);
        string text = await answer.Content.ReadAsStringAsync(TestContext.Current.CancellationToken);
        Assert.True(answer.IsSuccessStatusCode, $"{Uri.UnescapeDataString(query)}: {text}");
        using var document = JsonDocument.Parse(text);
        return document.RootElement.GetProperty("data").Clone();
    }

    private async Task UntilReadyAsync()
    {
        var clock = Stopwatch.StartNew();
        while (true)
        {
            try
            {
                using HttpResponseMessage answer = await _http.GetAsync(new Uri("/-/ready", UriKind.Relative), TestContext.Current.CancellationToken);
                if (answer.IsSuccessStatusCode)
                {
                    return;
                }
            }
            catch (HttpRequestException) when (!_process.HasExited)
            {
            }

            Assert.True(!_process.HasExited && clock.Elapsed < Patience, $"Prometheus is not ready after {clock.Elapsed}");
            await Task.Delay(200, TestContext.Current.CancellationToken);
        }
    }

    private static int FreePort()
    {
        using var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        return ((IPEndPoint)listener.LocalEndpoint).Port;
    }

    [GeneratedRegex(@"^label_values\((.+), *(\w+)\)$")]
    private static partial Regex LabelValues();
}

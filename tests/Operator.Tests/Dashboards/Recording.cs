using System.Globalization;
using System.Text;
using Prometheus;

namespace DeepSpeedSharp.Operator.Tests.Dashboards;

/// <summary>Scrapes with their times, as the text that <c>promtool tsdb create-blocks-from openmetrics</c> reads.</summary>
internal sealed class Recording
{
    private readonly StringBuilder _text = new();

    /// <summary>Adds what a registry serves at a time.</summary>
    /// <param name="registry">The metrics of a process.</param>
    /// <param name="labels">What the scrape adds, as <c>name="value",…</c>.</param>
    /// <param name="time">When.</param>
    public async Task AddAsync(CollectorRegistry registry, string labels, DateTimeOffset time)
    {
        using var stream = new MemoryStream();
        await registry.CollectAndExportAsTextAsync(stream, TestContext.Current.CancellationToken);
        foreach (string line in Encoding.UTF8.GetString(stream.GetBuffer(), 0, (int)stream.Length).Split('\n', StringSplitOptions.RemoveEmptyEntries))
        {
            if (line[0] != '#')
            {
                Add(line, labels, time);
            }
        }
    }

    /// <summary>Adds a sample.</summary>
    public void Add(string name, string labels, double value, DateTimeOffset time) =>
        Add(string.Create(CultureInfo.InvariantCulture, $"{name} {value}"), labels, time);

    public void Save(string file) => File.WriteAllText(file, _text.ToString() + "# EOF\n");

    private void Add(string line, string labels, DateTimeOffset time)
    {
        int end = line.LastIndexOf(' ');
        string series = line[..end];
        series = series.EndsWith('}') ? $"{series[..^1]},{labels}}}" : $"{series}{{{labels}}}";
        _ = _text.Append(series).Append(line.AsSpan(end)).Append(' ').Append(time.ToUnixTimeSeconds()).Append('\n');
    }
}

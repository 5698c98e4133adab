using System.Globalization;

namespace DeepSpeedSharp.Engine.Observability;

/// <summary>One CSV file per metric, appended.</summary>
internal sealed class CsvMonitor(string folder) : IMonitor
{
    private readonly Dictionary<string, StreamWriter> _files = [];

    public string Place => folder;

    public void Write(IReadOnlyList<(string Metric, double Value)> events, long samples)
    {
        foreach ((string metric, double value) in events)
        {
            if (!_files.TryGetValue(metric, out StreamWriter? file))
            {
                file = _files[metric] = Open(metric);
            }

            file.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{samples},{value:R}"));
            file.Flush();
        }
    }

    public void Dispose()
    {
        foreach (StreamWriter file in _files.Values)
        {
            file.Dispose();
        }
    }

    private StreamWriter Open(string metric)
    {
        Directory.CreateDirectory(folder);
        string path = Path.Combine(folder, metric.Replace('/', '_').Replace(' ', '_') + ".csv");
        var file = new StreamWriter(path, append: true) { NewLine = "\n" };
        if (file.BaseStream.Length == 0)
        {
            file.WriteLine($"step,{metric[(metric.LastIndexOf('/') + 1)..]}");
        }

        return file;
    }
}

using System.Text.Json;

namespace DeepSpeedSharp.Worker.Tests;

/// <summary>A line of a metrics file.</summary>
internal sealed record MetricsLine(long Step, double Loss, double Lr, double GradNorm)
{
    public static MetricsLine[] Read(string path)
    {
        using var file = new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite);
        using var reader = new StreamReader(file);
        return [.. reader.ReadToEnd().Split('\n').SkipLast(1).Select(line => JsonDocument.Parse(line).RootElement).Select(e => new MetricsLine(
            e.GetProperty("step").GetInt64(), e.GetProperty("loss").GetDouble(), e.GetProperty("lr").GetDouble(),
            e.GetProperty("grad_norm").GetDouble()))];
    }
}

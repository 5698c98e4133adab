using System.Globalization;
using System.Text.Json;

namespace DeepSpeedSharp.Operator.Benchmarks;

/// <summary>What the operator wrote, counted at the API server: requests that changed something, by kind of object.</summary>
/// <param name="Counts">Number of writes, by verb and resource.</param>
/// <param name="Refused">Writes that the server refused.</param>
internal sealed record AuditLog(IReadOnlyDictionary<string, int> Counts, int Refused)
{
    /// <summary>All writes but those that create pods.</summary>
    public int BeyondPods => Counts.Where(c => c.Key != "create pods").Sum(c => c.Value);

    /// <summary>All writes.</summary>
    public int All => Counts.Values.Sum();

    /// <summary>Reads the server's log.</summary>
    public static AuditLog Read(string file)
    {
        var counts = new SortedDictionary<string, int>(StringComparer.Ordinal);
        int refused = 0;
        using var lines = new StreamReader(new FileStream(file, FileMode.Open, FileAccess.Read, FileShare.ReadWrite));
        while (lines.ReadLine() is { } line)
        {
            // The last line may be half written.
            if (!line.EndsWith('}'))
            {
                continue;
            }

            using JsonDocument entry = JsonDocument.Parse(line);
            JsonElement target = entry.RootElement.GetProperty("objectRef");
            if (entry.RootElement.TryGetProperty("responseStatus", out JsonElement status) && status.TryGetProperty("code", out JsonElement code) && code.GetInt32() >= 300)
            {
                refused++;
            }

            string resource = target.GetProperty("resource").GetString()!
                + (target.TryGetProperty("subresource", out JsonElement part) ? $"/{part.GetString()}" : "");
            string key = $"{entry.RootElement.GetProperty("verb").GetString()} {resource}";
            counts[key] = counts.GetValueOrDefault(key) + 1;
        }

        return new AuditLog(counts, refused);
    }

    /// <summary>What was written since an earlier look.</summary>
    public AuditLog Since(AuditLog before) => new(
        Counts.Select(c => (c.Key, Count: c.Value - before.Counts.GetValueOrDefault(c.Key))).Where(c => c.Count > 0).ToDictionary(c => c.Key, c => c.Count),
        Refused - before.Refused);

    /// <summary>Each kind of write per job.</summary>
    public string PerJob(int jobs) => string.Join(", ", Counts.OrderByDescending(c => c.Value)
        .Select(c => string.Create(CultureInfo.InvariantCulture, $"{c.Key} {(double)c.Value / jobs:0.##}")));
}

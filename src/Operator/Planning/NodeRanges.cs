using System.Globalization;

namespace DeepSpeedSharp.Operator.Planning;

/// <summary>Node indexes as text, such as <c>0-3,7</c>: a status must stay small with ten thousand nodes too.</summary>
internal static class NodeRanges
{
    /// <summary>Writes indexes; null when there are none.</summary>
    public static string? Format(IEnumerable<int> indexes)
    {
        var parts = new List<string>();
        int[] sorted = [.. indexes.Distinct().Order()];
        for (int begin = 0; begin < sorted.Length;)
        {
            int end = begin;
            while (end + 1 < sorted.Length && sorted[end + 1] == sorted[end] + 1)
            {
                end++;
            }

            parts.Add(begin == end
                ? sorted[begin].ToString(CultureInfo.InvariantCulture)
                : string.Create(CultureInfo.InvariantCulture, $"{sorted[begin]}-{sorted[end]}"));
            begin = end + 1;
        }

        return parts.Count == 0 ? null : string.Join(',', parts);
    }

    /// <summary>Reads indexes; a part that makes no sense is left out.</summary>
    public static IReadOnlySet<int> Parse(string? text)
    {
        var indexes = new HashSet<int>();
        foreach (string part in (text ?? "").Split(',', StringSplitOptions.RemoveEmptyEntries))
        {
            string[] ends = part.Split('-');
            if (int.TryParse(ends[0], NumberStyles.None, CultureInfo.InvariantCulture, out int first)
                && int.TryParse(ends[^1], NumberStyles.None, CultureInfo.InvariantCulture, out int last) && last - first < 100_000)
            {
                indexes.UnionWith(Enumerable.Range(first, Math.Max(0, last - first + 1)));
            }
        }

        return indexes;
    }
}

using System.Globalization;

namespace DeepSpeedSharp.Launcher.Launch;

/// <summary>Lists of processor cores as people and the kernel write them: <c>1,3-5,7</c>.</summary>
internal static class CoreList
{
    /// <summary>Reads a list; numbers have to grow.</summary>
    /// <exception cref="FormatException">The text is no such list.</exception>
    public static IReadOnlyList<int> Parse(string text)
    {
        var cores = new List<int>();
        foreach (string part in text.Split(','))
        {
            string[] ends = part.Split('-');
            int first = Number(ends[0], text);
            int last = ends.Length == 1 ? first : Number(ends[1], text);
            if (ends.Length > 2 || last < first || (cores.Count > 0 && first <= cores[^1]))
            {
                throw Wrong(text);
            }

            cores.AddRange(Enumerable.Range(first, last - first + 1));
        }

        return cores;
    }

    /// <summary>Writes a list with as few ranges as it takes.</summary>
    public static string Format(IReadOnlyList<int> cores)
    {
        var parts = new List<string>();
        for (int i = 0; i < cores.Count;)
        {
            int first = i;
            while (i + 1 < cores.Count && cores[i + 1] == cores[i] + 1)
            {
                i++;
            }

            parts.Add(first == i ? $"{cores[i]}" : $"{cores[first]}-{cores[i]}");
            i++;
        }

        return string.Join(',', parts);
    }

    private static int Number(string text, string list) =>
        int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out int core) && core < MaximumCore ? core
            : throw Wrong(list);

    private static FormatException Wrong(string text) =>
        new($"\"{text}\" is no list of cores; write growing numbers and ranges, for example 0-7,16-23");

    private const int MaximumCore = 1 << 16;
}

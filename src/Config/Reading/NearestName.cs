namespace DeepSpeedSharp.Config;

/// <summary>Finds the known name a user most likely meant.</summary>
public static class NearestName
{
    /// <summary>The closest of the known names, when one is close enough to be a typing slip.</summary>
    /// <param name="name">What the user wrote.</param>
    /// <param name="known">The names that exist.</param>
    /// <returns>A name that was only cut short, else the nearest; null when none is within a third of the length.</returns>
    public static string? Find(string name, IEnumerable<string> known)
    {
        string[] longer = name.Length < 5
            ? [] : [.. known.Where(k => k.StartsWith(name, StringComparison.OrdinalIgnoreCase))];
        if (longer.Length == 1)
        {
            return longer[0];
        }

        (string? best, int distance) = (null, Math.Max(2, name.Length / 3) + 1);
        foreach (string candidate in known)
        {
            int d = Distance(name.ToLowerInvariant(), candidate.ToLowerInvariant());
            if (d < distance)
            {
                (best, distance) = (candidate, d);
            }
        }

        return best;
    }

    // Optimal string alignment: Levenshtein plus swaps of neighbours. Names are short, so the plain table is enough.
    private static int Distance(string a, string b)
    {
        var d = new int[a.Length + 1, b.Length + 1];
        for (int i = 0; i <= a.Length; i++)
        {
            d[i, 0] = i;
        }

        for (int j = 0; j <= b.Length; j++)
        {
            d[0, j] = j;
        }

        for (int i = 1; i <= a.Length; i++)
        {
            for (int j = 1; j <= b.Length; j++)
            {
                int substitution = d[i - 1, j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
                d[i, j] = Math.Min(substitution, Math.Min(d[i - 1, j], d[i, j - 1]) + 1);
                if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                {
                    d[i, j] = Math.Min(d[i, j], d[i - 2, j - 2] + 1);
                }
            }
        }

        return d[a.Length, b.Length];
    }
}

using System.Globalization;
using System.Text;

namespace DeepSpeedSharp.Config;

/// <summary>The short forms in which Slurm writes lists: of hosts, and of tasks per host.</summary>
internal static class SlurmLists
{
    /// <summary>Set by <c>srun</c> for its tasks only: how many there are.</summary>
    public const string StepTasks = "SLURM_STEP_NUM_TASKS";

    /// <summary>The first host of a list as <c>gpu[01-03,07],login</c>.</summary>
    /// <returns>Null when the text is no such list.</returns>
    public static string? FirstHost(string list)
    {
        var host = new StringBuilder();
        for (int i = 0; i < list.Length && list[i] != ',';)
        {
            if (list[i] != '[')
            {
                host.Append(list[i++]);
                continue;
            }

            int end = list.IndexOf(']', i);
            if (end < 0)
            {
                return null;
            }

            // The first number of the brackets; its zeros in front belong to the name.
            host.Append(list[(i + 1)..end].Split(',')[0].Split('-')[0]);
            i = end + 1;
        }

        return host.Length > 0 && list.Count(c => c == '[') == list.Count(c => c == ']') ? host.ToString() : null;
    }

    /// <summary>Tasks on each host of a list as <c>4(x2),3</c>, which means 4, 4 and 3.</summary>
    /// <returns>Null when the text is no such list.</returns>
    public static IReadOnlyList<int>? Tasks(string list)
    {
        var tasks = new List<int>();
        foreach (string part in list.Split(','))
        {
            string[] pieces = part.TrimEnd(')').Split("(x");
            int times = 1;
            if (!int.TryParse(pieces[0], NumberStyles.None, CultureInfo.InvariantCulture, out int each)
                || (pieces.Length > 1 && !int.TryParse(pieces[1], NumberStyles.None, CultureInfo.InvariantCulture, out times))
                || pieces.Length > 2 || times is < 1 or > 1_000_000)
            {
                return null;
            }

            tasks.AddRange(Enumerable.Repeat(each, times));
        }

        return tasks;
    }

    /// <summary>Number of tasks of this step on this host; null when Slurm does not say.</summary>
    public static int? LocalTasks(Func<string, string?> read)
    {
        if (Number(read("SLURM_NODEID")) is { } node && read("SLURM_STEP_TASKS_PER_NODE") is { } text
            && Tasks(text) is { } tasks && node < tasks.Count)
        {
            return tasks[node];
        }

        return Number(read("SLURM_NTASKS_PER_NODE"));
    }

    private static int? Number(string? text) =>
        int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out int number) ? number : null;
}

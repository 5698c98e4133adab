namespace DeepSpeedSharp.Launcher;

/// <summary>A plan for people: what <c>--dry-run</c> prints.</summary>
internal static class PlanText
{
    /// <summary>Writes each node's variables and command line.</summary>
    public static void Write(LaunchPlan plan, TextWriter writer)
    {
        foreach (LaunchNode node in plan.Nodes)
        {
            writer.WriteLine();
            writer.WriteLine(node.FullName);
            foreach ((string name, string value) in node.JobEnvironment)
            {
                writer.WriteLine($"  {name}={Quote(value)}");
            }

            writer.WriteLine($"  {string.Join(' ', node.CommandLine.Select(Quote))}");
        }
    }

    // Single quotes keep everything but a single quote, which leaves the quotes for a moment.
    private static string Quote(string text) =>
        text.Length > 0 && text.All(c => char.IsAsciiLetterOrDigit(c) || "_-./:=,@+%".Contains(c))
            ? text : $"'{text.Replace("'", "'\\''", StringComparison.Ordinal)}'";
}

using DeepSpeedSharp.Config;

namespace DeepSpeedSharp.Launcher;

/// <summary>A config report for people.</summary>
internal static class ConfigText
{
    /// <summary>Writes the resolved config as a table, or every problem with what to do.</summary>
    /// <param name="report">The report.</param>
    /// <param name="file">Name of the config file.</param>
    /// <param name="worldSize">Ranks it was checked for.</param>
    /// <param name="writer">Where to write.</param>
    public static void Write(ConfigReport report, string file, int worldSize, TextWriter writer)
    {
        string ranks = Ranks(worldSize);
        if (report is not { Config: { } config, Batch: { } batch })
        {
            int count = report.Errors.Count;
            writer.WriteLine($"{file} has {(count == 1 ? "a problem" : $"{count} problems")}, checked for {ranks}:");
            Write(report.Errors, writer);
            return;
        }

        writer.WriteLine($"{file} is valid for {ranks}");
        foreach (string line in AlignedRows.Format(ConfigRows.Of(config, batch)))
        {
            writer.WriteLine(line);
        }

        if (config.UnresolvedAuto.Count > 0)
        {
            writer.WriteLine("\"auto\" is for the trainer's arguments to fill; until then these show their defaults:");
            foreach (string path in config.UnresolvedAuto)
            {
                writer.WriteLine($"  {path}");
            }
        }

        if (report.Unsupported.Count > 0)
        {
            writer.WriteLine("the engine of this release cannot train with it, because of:");
            Write(report.Unsupported, writer);
        }
    }

    /// <summary>The batch sizes in one line.</summary>
    public static string Describe(BatchPlan batch) => FormattableString.Invariant(
        $"train batch {batch.TrainBatchSize} = micro batch {batch.MicroBatchSize} x accumulation {batch.GradientAccumulationSteps} x {Ranks(batch.WorldSize)}");

    private static void Write(IEnumerable<ConfigError> errors, TextWriter writer)
    {
        foreach (ConfigError error in errors)
        {
            writer.WriteLine($"  {error.Path}");
            writer.WriteLine($"    {error.Problem}");
            writer.WriteLine($"    -> {error.Fix}");
        }
    }

    private static string Ranks(int worldSize) => worldSize == 1 ? "1 rank" : $"{worldSize} ranks";
}

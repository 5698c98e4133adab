using System.Globalization;
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
        if (report is { Config: { } config, Batch: { } batch })
        {
            writer.WriteLine($"{file} is valid for {ranks}");
            foreach (string line in AlignedRows.Format(Rows(config, batch)))
            {
                writer.WriteLine(line);
            }

            return;
        }

        int count = report.Errors.Count;
        writer.WriteLine($"{file} has {(count == 1 ? "a problem" : $"{count} problems")}, checked for {ranks}:");
        foreach (ConfigError error in report.Errors)
        {
            writer.WriteLine($"  {error.Path}");
            writer.WriteLine($"    {error.Problem}");
            writer.WriteLine($"    -> {error.Fix}");
        }
    }

    /// <summary>The batch sizes in one line.</summary>
    public static string Describe(BatchPlan batch) =>
        Text($"train batch {batch.TrainBatchSize} = micro batch {batch.MicroBatchSize} x ")
        + Text($"accumulation {batch.GradientAccumulationSteps} x {Ranks(batch.WorldSize)}");

    private static string Ranks(int worldSize) => worldSize == 1 ? "1 rank" : $"{worldSize} ranks";

    private static IEnumerable<(string, string?)> Rows(DeepSpeedConfig config, BatchPlan batch)
    {
        yield return ("batch", Describe(batch));
        yield return ("optimizer", Describe(config.Optimizer));
        yield return ("schedule", Describe(config.Scheduler, config.Optimizer));
        yield return ("clipping", config.GradientClipping == 0
            ? "off" : Text($"global gradient norm at most {config.GradientClipping}"));
        yield return ("zero", Text($"stage {config.Zero.Stage}, buckets of {config.Zero.ReduceBucketSize} elements"));
        yield return ("precision", "fp32");
        yield return ("progress", config.StepsPerPrint is { } steps
            ? steps == 1 ? "every step" : Text($"every {steps} steps") : "about every two seconds");
    }

    private static string Describe(OptimizerConfig? optimizer)
    {
        if (optimizer is null)
        {
            return "none in the config; the program brings its own";
        }

        AdamParams p = (AdamParams)optimizer.Params;
        string decay = p.WeightDecay == 0 ? "" : p.AdamWMode ? " (decoupled)" : " (L2)";
        return Text($"{optimizer.Type}: lr {Scientific(p.LearningRate)}, betas {p.Betas[0]} and {p.Betas[1]}, ")
            + Text($"eps {Scientific(p.Epsilon)}, ")
            + Text($"weight decay {p.WeightDecay}{decay}{(p.BiasCorrection ? "" : ", no bias correction")}");
    }

    private static string Describe(ScheduleConfig? schedule, OptimizerConfig? optimizer)
    {
        if (schedule is null)
        {
            return "constant learning rate";
        }

        WarmupParams p = (WarmupParams)schedule.Params;
        string top = (p.MaxLearningRate?[0] ?? optimizer?.Params.LearningRate) is { } rate
            ? Scientific(rate) : "the optimizer's rate";
        return Text($"{schedule.Type}: {Scientific(p.MinLearningRate[0])} to {top} in {p.Steps} steps, {p.Type}");
    }

    // 1e-8 as in the config, not .NET's 1E-08.
    private static string Scientific(double value) => Text($"{value}")
        .Replace("E-0", "e-", StringComparison.Ordinal).Replace("E", "e", StringComparison.Ordinal);

    private static string Text(FormattableString text) => text.ToString(CultureInfo.InvariantCulture);
}

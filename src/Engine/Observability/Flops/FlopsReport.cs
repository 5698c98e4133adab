using System.Globalization;
using System.Text;
using DeepSpeedSharp.Config;

namespace DeepSpeedSharp.Engine.Observability;

/// <summary>The text of the flops profiler: what a step costs, the largest modules, and a table of all.</summary>
internal static class FlopsReport
{
    /// <summary>Writes the report.</summary>
    /// <param name="root">The profiled model, after one forward pass of a micro batch.</param>
    /// <param name="config">What to show.</param>
    /// <param name="batch">How many such passes a step has, and on how many ranks.</param>
    /// <param name="step">Number of the profiled step.</param>
    /// <param name="times">Forward, backward and optimizer time of the whole step.</param>
    public static string Write(ModuleProfile root, FlopsProfilerConfig config, BatchPlan batch, long step, in StepTimes times)
    {
        var text = new StringBuilder();
        text.Append(CultureInfo.InvariantCulture, $"flops profile of step {step} on rank 0: ").AppendLine(CultureInfo.InvariantCulture,
            $"micro batch {batch.MicroBatchSize}, accumulation {batch.GradientAccumulationSteps}, world size {batch.WorldSize}");
        Summarise(text, root, config, batch, times);
        Rank(text, root, config);
        if (config.Detailed)
        {
            Detail(text, root);
        }

        string[] uncounted = [.. root.All().Where(m => m.IsUncounted).Select(m => m.Type).Distinct().Order(StringComparer.Ordinal)];
        if (uncounted.Length > 0)
        {
            text.Append("\nnot counted, because nothing tells what they compute: ").AppendJoin(", ", uncounted)
                .AppendLine("; a module tells it by implementing ICountFlops");
        }

        return text.ToString();
    }

    private static void Summarise(StringBuilder text, ModuleProfile root, FlopsProfilerConfig config, BatchPlan batch, in StepTimes times)
    {
        // Backward computes a gradient for each of the two factors of a product.
        double forward = (double)root.Work.Flops * batch.GradientAccumulationSteps;
        double backward = forward * (2 + config.RecomputeFwdFactor);
        text.AppendLine();
        Line("parameters", Short(root.Parameters), "");
        Line("forward MACs of a micro batch", Short(root.Work.Macs), "");
        Line("forward flops of a micro batch", Short(root.Work.Flops), "");
        Line("flops of a step on a rank", Short(forward + backward), $"(3 + {config.RecomputeFwdFactor.ToString(CultureInfo.InvariantCulture)}) x forward x {batch.GradientAccumulationSteps}");
        Line("forward", Milliseconds(times.Forward), Speed(forward, times.Forward));
        Line("backward, with reduction", Milliseconds(times.Backward), Speed(backward, times.Backward));
        Line("optimizer step", Milliseconds(times.Step), "");
        Line("whole step", Milliseconds(times.Total), Speed(forward + backward, times.Total));
        Line("samples per second, all ranks", times.Total > TimeSpan.Zero ? Fixed(batch.TrainBatchSize / times.Total.TotalSeconds) : "-", "");

        void Line(string name, string value, string remark) => text.AppendLine($"  {name,-32}{value,14}  {remark}".TrimEnd());
    }

    private static void Rank(StringBuilder text, ModuleProfile root, FlopsProfilerConfig config)
    {
        int deepest = root.All().Max(m => m.Depth);
        int last = config.ModuleDepth < 0 ? deepest : Math.Min(config.ModuleDepth, deepest);
        text.AppendLine(CultureInfo.InvariantCulture, $"\nlargest {config.TopModules} of each depth, modules of a type together");
        text.AppendLine($"  {"depth",-7}{"parameters",-34}{"MACs",-34}{"forward time",-34}".TrimEnd());
        for (int depth = 0; depth <= last; depth++)
        {
            IGrouping<string, ModuleProfile>[] types = [.. root.All().Where(m => m.Depth == depth).GroupBy(m => m.Type)];
            string[][] columns =
            [
                Top(types, t => t.Sum(m => m.Parameters), v => Short(v)),
                Top(types, t => t.Sum(m => m.Work.Macs), v => Short(v)),
                Top(types, t => t.Sum(m => m.Latency.TotalMilliseconds), v => Fixed(v) + " ms"),
            ];
            for (int row = 0; row < Math.Min(config.TopModules, types.Length); row++)
            {
                string name = row == 0 ? depth.ToString(CultureInfo.InvariantCulture) : "";
                text.AppendLine($"  {name,-7}{columns[0][row],-34}{columns[1][row],-34}{columns[2][row],-34}".TrimEnd());
            }
        }

        static string[] Top(IGrouping<string, ModuleProfile>[] types, Func<IGrouping<string, ModuleProfile>, double> size, Func<double, string> show) =>
            [.. types.OrderByDescending(size).Select(t => $"{t.Key} {show(size(t))}")];
    }

    private static void Detail(StringBuilder text, ModuleProfile root)
    {
        int width = Math.Max(8, root.All().Max(m => m.Name.Length + 2 * m.Depth)) + 2;
        int typeWidth = Math.Max(6, root.All().Max(m => m.Type.Length)) + 2;
        (double flops, double time) = (root.Work.Flops, root.Latency.TotalMilliseconds);
        text.AppendLine();
        Row("module", "type", "parameters", "MACs", "flops", "flops %", "forward ms", "time %");
        foreach (ModuleProfile module in root.All())
        {
            Row(new string(' ', 2 * module.Depth) + module.Name, module.Type, Short(module.Parameters), Short(module.Work.Macs),
                Short(module.Work.Flops), Percent(module.Work.Flops, flops), Fixed(module.Latency.TotalMilliseconds),
                Percent(module.Latency.TotalMilliseconds, time));
        }

        void Row(string name, string type, string parameters, string macs, string flops, string share, string time, string timeShare) =>
            text.AppendLine($"  {name.PadRight(width)}{type.PadRight(typeWidth)}{parameters,11}{macs,11}{flops,11}{share,9}{time,12}{timeShare,8}");
    }

    /// <summary>A number with four figures and a unit's letter: 124.4M.</summary>
    internal static string Short(double value)
    {
        ReadOnlySpan<string> letters = ["", "k", "M", "G", "T", "P", "E"];
        int power = 0;
        while (value >= 999.95 && power < letters.Length - 1)
        {
            value /= 1000;
            power++;
        }

        return value.ToString(power == 0 ? "0" : "0.0", CultureInfo.InvariantCulture) + letters[power];
    }

    private static string Fixed(double value) => value.ToString("0.00", CultureInfo.InvariantCulture);

    private static string Milliseconds(TimeSpan time) => Fixed(time.TotalMilliseconds) + " ms";

    private static string Percent(double part, double whole) => whole > 0 ? (100 * part / whole).ToString("0.0", CultureInfo.InvariantCulture) : "-";

    private static string Speed(double flops, TimeSpan time) =>
        time > TimeSpan.Zero ? $"{Fixed(flops / time.TotalSeconds / 1e12)} TFLOPS on a rank" : "";
}

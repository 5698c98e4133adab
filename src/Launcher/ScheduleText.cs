using System.Globalization;
using System.Text;
using DeepSpeedSharp.Config.Schedules;

namespace DeepSpeedSharp.Launcher;

/// <summary>Learning rates for people: what they are at the corners, and a chart of each parameter group.</summary>
internal static class ScheduleText
{
    // Also what a pager or a file gets; a wider terminal shows it at the left.
    private const int Width = 80;

    /// <summary>Writes the charts.</summary>
    /// <param name="preview">The rates.</param>
    /// <param name="file">Name of the config file.</param>
    /// <param name="steps">Optimizer steps.</param>
    /// <param name="output">Where to write.</param>
    public static void Write(SchedulePreview preview, string file, int steps, TextWriter output)
    {
        Series[] all = Collect(preview, steps);
        bool hasBlocks = output.Encoding is UTF8Encoding or UnicodeEncoding;
        output.WriteLine($"{file}: {preview.Name}, {(steps == 1 ? "1 optimizer step" : $"{steps} optimizer steps")}");

        // Groups that share a curve share a chart.
        IGrouping<string, Series>[] curves = [.. all.GroupBy(series => series.Title + string.Join(' ',
            series.Drawn.Prepend(series.Start).Select(v => v.ToString("R", CultureInfo.InvariantCulture))))];
        foreach (IGrouping<string, Series> same in curves)
        {
            Series series = same.First();
            output.WriteLine();
            output.WriteLine(series.Title + (curves.Count(c => c.First().Title == series.Title) == 1 ? ""
                : $" of parameter group {string.Join(", ", same.Select(s => s.Group))}"));
            output.WriteLine(Summary(series));
            foreach (string line in Chart.Draw(
                series.Drawn, series.Bottom, series.Highest, Width, ("1", $"{(steps + 1) / 2}", $"{steps}")))
            {
                output.WriteLine(hasBlocks ? line : Chart.Ascii(line));
            }
        }
    }

    private static Series[] Collect(SchedulePreview preview, int steps)
    {
        IReadOnlyList<ScheduleValue> start = preview.Start;
        Series[] rates = [.. start.Select((value, i) => new Series("learning rate", i, value.LearningRate, steps))];
        Series[] momenta = start[0].Beta1 is null ? []
            : [.. start.Select((value, i) => new Series("momentum (first beta)", i, value.Beta1!.Value, steps))];
        int step = 0;
        foreach (IReadOnlyList<ScheduleValue> values in preview.After(steps))
        {
            step++;
            for (int group = 0; group < values.Count; group++)
            {
                rates[group].Add(step, values[group].LearningRate);
                if (momenta.Length > 0)
                {
                    momenta[group].Add(step, values[group].Beta1!.Value);
                }
            }
        }

        foreach (Series momentum in momenta)
        {
            momentum.Bottom = momentum.Drawn.Min();
        }

        return [.. rates, .. momenta];
    }

    private static string Summary(Series s) => $"  before step 1 {Chart.Number(s.Start)}, after it {Chart.Number(s.First)}"
        + $"; highest {Chart.Number(s.Highest)} at step {s.HighestStep}; last {Chart.Number(s.Last)}";

    // One curve. Of many steps only as many are kept as there are columns: the last of each column.
    private sealed class Series(string title, int group, double start, int steps)
    {
        private static readonly int Columns = Chart.Columns(Width);
        private readonly double[] _drawn = new double[Math.Min(steps, Columns)];

        public string Title => title;

        public int Group => group;

        public double Start => start;

        public double First { get; private set; }

        public double Highest { get; private set; } = double.NegativeInfinity;

        public int HighestStep { get; private set; }

        public double Last { get; private set; }

        public double Bottom { get; set; }

        public IReadOnlyList<double> Drawn => _drawn;

        public void Add(int step, double value)
        {
            First = step == 1 ? value : First;
            if (value > Highest)
            {
                (Highest, HighestStep) = (value, step);
            }

            Last = value;
            _drawn[(int)((long)(step - 1) * _drawn.Length / steps)] = value;
        }
    }
}

using System.Globalization;
using System.Security;
using System.Text;
using DeepSpeedSharp.Operator.Tests.Chart;

namespace DeepSpeedSharp.Operator.Tests.Dashboards;

/// <summary>What a panel shows.</summary>
internal sealed record DrawnPanel(DashboardPanel Panel, IReadOnlyList<DrawnSeries> Series);

/// <summary>A line of a panel, by the name in its legend.</summary>
internal sealed record DrawnSeries(string Name, IReadOnlyList<(double Time, double Value)> Points);

/// <summary>Draws a dashboard in Grafana's grid, so that people see what is empty, too small or cannot be told apart.</summary>
internal static class DashboardPicture
{
    private const int Width = 1400;
    private const int RowHeight = 30;
    private const int Gap = 8;
    private const int Top = 44;
    private const int LegendRow = 16;

    private static readonly string[] Colors =
    [
        "#73bf69", "#f2cc0c", "#5794f2", "#ff9830", "#f2495c", "#b877d9", "#8ab8ff", "#ffa6b0", "#56a64b", "#fade2a", "#3274d9", "#ff780a",
        "#e02f44", "#a352cc", "#c0d8ff", "#96d98d",
    ];

    /// <summary>Draws, and saves as PNG by rsvg-convert.</summary>
    public static async Task SaveAsync(string title, IReadOnlyList<DrawnPanel> panels, string file)
    {
        Assert.True(RenderedChart.Has("rsvg-convert"), "no rsvg-convert: apt-get install librsvg2-bin");
        Directory.CreateDirectory(Path.GetDirectoryName(file)!);
        string svg = Path.Combine(Path.GetTempPath(), Path.GetFileNameWithoutExtension(file) + ".svg");
        await File.WriteAllTextAsync(svg, Draw(title, panels));
        (int code, string text, string error) = await RenderedChart.RunAsync("rsvg-convert", ["-w", "1200", "-o", file, svg]);
        Assert.True(code == 0, text + error);
        if (RenderedChart.Has("pngquant"))
        {
            _ = await RenderedChart.RunAsync("pngquant", ["--force", "--ext", ".png", "48", file]);
        }

        File.Delete(svg);
    }

    private static string Draw(string title, IReadOnlyList<DrawnPanel> panels)
    {
        int height = Top + panels.Max(p => p.Panel.Grid.Y + p.Panel.Grid.H) * (RowHeight + Gap);
        var svg = new StringBuilder();
        Line(svg, $"<svg xmlns='http://www.w3.org/2000/svg' width='{Width}' height='{height}' font-family='DejaVu Sans, sans-serif'>");
        Line(svg, $"<rect width='{Width}' height='{height}' fill='#111217'/>");
        Words(svg, 12, 27, title, 15, "#d8d9da");
        foreach (DrawnPanel panel in panels)
        {
            double cell = (double)Width / 24;
            (double x, double y) = (panel.Panel.Grid.X * cell + Gap / 2, Top + panel.Panel.Grid.Y * (RowHeight + Gap));
            (double w, double h) = (panel.Panel.Grid.W * cell - Gap, panel.Panel.Grid.H * (RowHeight + Gap) - Gap);
            Line(svg, $"<rect x='{x:0.#}' y='{y:0.#}' width='{w:0.#}' height='{h:0.#}' rx='2' fill='#181b1f' stroke='#2c3235'/>");
            Words(svg, x + 10, y + 18, panel.Panel.Title, 12, "#d8d9da");
            switch (panel.Panel.Type)
            {
                case "stat":
                    Stat(svg, panel, x, y, w, h);
                    break;
                case "heatmap":
                    Heatmap(svg, panel, new Box(x + 62, y + 30, w - 76, h - 54));
                    break;
                default:
                    Chart(svg, panel, x, y, w, h);
                    break;
            }
        }

        return svg.Append("</svg>\n").ToString();
    }

    private static void Stat(StringBuilder svg, DrawnPanel panel, double x, double y, double w, double h)
    {
        double part = w / panel.Series.Count;
        for (int i = 0; i < panel.Series.Count; i++)
        {
            double middle = x + part * (i + 0.5);
            bool isNamed = panel.Series.Count > 1;
            Words(svg, middle, y + h / 2 + (isNamed ? 10 : 18), Units.Text(panel.Series[i].Points[^1].Value, panel.Panel.Unit, panel.Panel.Decimals), 26, Colors[0], "middle");
            if (isNamed)
            {
                Words(svg, middle, y + h - 18, panel.Series[i].Name, 12, "#9fa7b3", "middle");
            }
        }
    }

    private static void Chart(StringBuilder svg, DrawnPanel panel, double x, double y, double w, double h)
    {
        (double legendWidth, int legendRows) = Legend(svg, panel, x, y, w, h);
        bool hasRight = panel.Panel.RightAxis.Count > 0;
        var box = new Box(x + 62, y + 30, w - 76 - (hasRight ? 46 : 0) - legendWidth, h - 54 - legendRows * LegendRow);
        DrawnSeries[] left = [.. panel.Series.Where(s => !panel.Panel.RightAxis.ContainsKey(s.Name))];
        DrawnSeries[] right = [.. panel.Series.Where(s => panel.Panel.RightAxis.ContainsKey(s.Name))];
        var axis = Axis.Of(panel.Panel.IsStacked ? Stack(left) : left, panel.Panel.Min, panel.Panel.Max);
        TimeAxis(svg, box);
        ValueAxis(svg, box, axis, panel.Panel.Unit, atRight: false);
        if (hasRight)
        {
            ValueAxis(svg, box, Axis.Of(right, 0), panel.Panel.RightAxis.Values.First().Unit, atRight: true);
        }

        DrawnSeries[] stacked = panel.Panel.IsStacked ? Stack(left) : left;
        for (int i = stacked.Length - 1; i >= 0; i--)
        {
            Plot(svg, box, axis, stacked[i], Color(panel, left[i]), panel.Panel.Style, isFilled: panel.Panel.IsStacked);
        }

        foreach (DrawnSeries series in right)
        {
            Plot(svg, box, Axis.Of(right, 0), series, Color(panel, series), panel.Panel.RightAxis[series.Name].Style, isFilled: false);
        }
    }

    private static void Plot(StringBuilder svg, Box box, Axis axis, DrawnSeries series, string color, string style, bool isFilled)
    {
        var path = new StringBuilder();
        double last = double.NaN;
        foreach ((double time, double value) in series.Points.Where(p => double.IsFinite(p.Value)))
        {
            (double x, double y) = (box.AtTime(time), box.AtValue(value, axis));
            if (style != "line")
            {
                Line(svg, style == "points" ? $"<circle cx='{x:0.#}' cy='{y:0.#}' r='2.5' fill='{color}'/>"
                    : (FormattableString)$"<rect x='{x - 1:0.#}' y='{y:0.#}' width='2' height='{box.Y + box.H - y:0.#}' fill='{color}'/>");
                continue;
            }

            bool isNew = double.IsNaN(last) || time - last > 60;
            path.Append(CultureInfo.InvariantCulture, $"{(isNew ? 'M' : 'L')}{x:0.#} {y:0.#}");
            last = time;
        }

        if (path.Length > 0)
        {
            double bottom = box.Y + box.H;
            string fill = isFilled ? string.Create(CultureInfo.InvariantCulture,
                $"<path d='{path}L{box.AtTime(last):0.#} {bottom:0.#}L{box.AtTime(series.Points[0].Time):0.#} {bottom:0.#}Z' fill='{color}' opacity='0.35'/>") : "";
            Line(svg, $"{fill}<path d='{path}' fill='none' stroke='{color}' stroke-width='1.2'/>");
        }
    }

    private static void Heatmap(StringBuilder svg, DrawnPanel panel, Box box)
    {
        // Grafana takes each bucket less the one below it.
        DrawnSeries[] buckets = [.. panel.Series.Where(s => double.TryParse(s.Name, CultureInfo.InvariantCulture, out double le) && double.IsFinite(le))
            .OrderBy(s => double.Parse(s.Name, CultureInfo.InvariantCulture))];
        double most = 0, row = box.H / buckets.Length;
        List<(double Time, int Bucket, double Count)> cells = [];
        for (int i = 0; i < buckets.Length; i++)
        {
            Dictionary<double, double> below = i == 0 ? [] : buckets[i - 1].Points.ToDictionary(p => p.Time, p => p.Value);
            foreach ((double time, double value) in buckets[i].Points)
            {
                double count = value - below.GetValueOrDefault(time);
                most = Math.Max(most, count);
                cells.Add((time, i, count));
            }
        }

        foreach ((double time, int bucket, double count) in cells.Where(c => c.Count > 0.01 * most))
        {
            Line(svg, $"<rect x='{box.AtTime(time) - 1:0.#}' y='{box.Y + box.H - (bucket + 1) * row:0.#}' width='2.2' height='{row:0.#}' fill='#f2cc0c' opacity='{0.15 + 0.85 * count / most:0.##}'/>");
        }

        for (int i = 0; i < buckets.Length; i += 2)
        {
            Words(svg, box.X - 6, box.Y + box.H - i * row - row / 2 + 4, Units.Text(double.Parse(buckets[i].Name, CultureInfo.InvariantCulture), panel.Panel.Unit), 10, "#9fa7b3", "end");
        }

        TimeAxis(svg, box);
    }

    private static void TimeAxis(StringBuilder svg, Box box)
    {
        for (DateTimeOffset time = RecordedCluster.Begin; time <= RecordedCluster.End; time += TimeSpan.FromMinutes(30))
        {
            double x = box.AtTime(time.ToUnixTimeSeconds());
            Line(svg, $"<line x1='{x:0.#}' x2='{x:0.#}' y1='{box.Y:0.#}' y2='{box.Y + box.H:0.#}' stroke='#25292e'/>");
            Words(svg, x, box.Y + box.H + 14, time.ToString("HH:mm", CultureInfo.InvariantCulture), 10, "#9fa7b3", "middle");
        }
    }

    private static void ValueAxis(StringBuilder svg, Box box, Axis axis, string unit, bool atRight)
    {
        foreach (double value in axis.Ticks)
        {
            double y = box.AtValue(value, axis);
            Line(svg, $"<line x1='{box.X:0.#}' x2='{box.X + box.W:0.#}' y1='{y:0.#}' y2='{y:0.#}' stroke='#25292e'/>");
            Words(svg, atRight ? box.X + box.W + 6 : box.X - 6, y + 4, Units.Text(value, unit), 10, "#9fa7b3", atRight ? "start" : "end");
        }
    }

    private static (double Width, int Rows) Legend(StringBuilder svg, DrawnPanel panel, double x, double y, double w, double h)
    {
        double LengthOf(DrawnSeries series) => 30 + series.Name.Length * 6.6;
        if (panel.Panel.LegendIsRight)
        {
            double width = panel.Series.Max(LengthOf);
            for (int i = 0; i < panel.Series.Count; i++)
            {
                Entry(svg, panel, panel.Series[i], x + w - width, y + 40 + i * LegendRow);
            }

            return (width, 0);
        }

        var rows = new List<List<DrawnSeries>> { new() };
        foreach (DrawnSeries series in panel.Series)
        {
            if (rows[^1].Sum(LengthOf) + LengthOf(series) > w - 20 && rows[^1].Count > 0)
            {
                rows.Add([]);
            }

            rows[^1].Add(series);
        }

        for (int i = 0; i < rows.Count; i++)
        {
            double at = x + 12;
            foreach (DrawnSeries series in rows[i])
            {
                Entry(svg, panel, series, at, y + h - 8 - (rows.Count - 1 - i) * LegendRow);
                at += LengthOf(series);
            }
        }

        return (0, rows.Count);
    }

    private static void Entry(StringBuilder svg, DrawnPanel panel, DrawnSeries series, double x, double y)
    {
        Line(svg, $"<rect x='{x:0.#}' y='{y - 5:0.#}' width='14' height='3' fill='{Color(panel, series)}'/>");
        Words(svg, x + 18, y, series.Name, 11, "#9fa7b3");
    }

    private static string Color(DrawnPanel panel, DrawnSeries series) => Colors[panel.Series.ToList().IndexOf(series) % Colors.Length];

    private static DrawnSeries[] Stack(DrawnSeries[] series)
    {
        var total = new Dictionary<double, double>();
        return [.. series.Select(s => s with
        {
            Points = [.. s.Points.Select(p => (p.Time, total[p.Time] = total.GetValueOrDefault(p.Time) + p.Value))],
        })];
    }

    private static void Words(StringBuilder svg, double x, double y, string text, int size, string color, string anchor = "start") =>
        Line(svg, $"<text x='{x:0.#}' y='{y:0.#}' font-size='{size}' fill='{color}' text-anchor='{anchor}'>{SecurityElement.Escape(text)}</text>");

    private static void Line(StringBuilder svg, FormattableString text) => svg.Append(text.ToString(CultureInfo.InvariantCulture)).Append('\n');

    private sealed record Box(double X, double Y, double W, double H)
    {
        public double AtTime(double time) => X + W * (time - RecordedCluster.Begin.ToUnixTimeSeconds()) / RecordedCluster.Length.TotalSeconds;

        public double AtValue(double value, Axis axis) => Y + H * (1 - (value - axis.Least) / (axis.Most - axis.Least));
    }

    private sealed record Axis(double Least, double Most, double[] Ticks)
    {
        public static Axis Of(IEnumerable<DrawnSeries> series, double? from = null, double? to = null)
        {
            double[] values = [.. series.SelectMany(s => s.Points).Select(p => p.Value).Where(double.IsFinite)];
            (double least, double most) = values.Length == 0 ? (0, 1) : (values.Min(), values.Max());
            (least, most) = (from ?? (least > 0 && least < 0.5 * most ? 0 : least), to ?? most);
            double span = Math.Max(most - least, Math.Max(Math.Abs(most) * 1e-3, 1e-12)), power = Math.Pow(10, Math.Floor(Math.Log10(span / 4)));
            double step = new[] { 1, 2, 2.5, 5, 10 }.Select(f => f * power).First(s => span / s <= 5);
            (least, most) = (Math.Floor(least / step) * step, Math.Ceiling((least + span) / step) * step);
            return new Axis(least, most, [.. Enumerable.Range(0, (int)Math.Round((most - least) / step) + 1).Select(i => least + i * step)]);
        }
    }
}

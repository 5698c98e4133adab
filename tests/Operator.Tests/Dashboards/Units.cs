using System.Globalization;

namespace DeepSpeedSharp.Operator.Tests.Dashboards;

/// <summary>Numbers as Grafana writes them, for the units that our dashboards use.</summary>
internal static class Units
{
    public static readonly string[] Known = ["none", "short", "percent", "percentunit", "s", "ops", "sci", "bytes", "binBps"];

    private static readonly string[] Bytes = ["B", "KiB", "MiB", "GiB", "TiB"];

    public static string Text(double value, string unit, int? decimals = null)
    {
        if (!double.IsFinite(value))
        {
            return value.ToString(CultureInfo.InvariantCulture);
        }

        return unit switch
        {
            "percentunit" => Number(value * 100, decimals ?? 1) + "%",
            "percent" => Number(value, decimals ?? 1) + "%",
            "s" => Time(value, decimals ?? 2),
            "sci" => value.ToString("0.##e+0", CultureInfo.InvariantCulture),
            "ops" => Short(value, decimals) + " ops/s",
            "none" => Number(value, decimals ?? 3),
            "bytes" => Scaled(value, 1024, Bytes, decimals),
            "binBps" => Scaled(value, 1024, Bytes, decimals) + "/s",
            _ => Short(value, decimals),
        };
    }

    private static string Short(double value, int? decimals) => Scaled(value, 1000, ["", " K", " Mil", " Bil"], decimals);

    private static string Scaled(double value, double by, string[] names, int? decimals)
    {
        int i = 0;
        for (; Math.Abs(value) >= by && i < names.Length - 1; i++)
        {
            value /= by;
        }

        return Number(value, decimals ?? (Math.Abs(value) >= 100 ? 0 : 2)) + names[i];
    }

    private static string Time(double seconds, int decimals) => Math.Abs(seconds) switch
    {
        0 => "0 s",
        < 1e-3 => Number(seconds * 1e6, decimals) + " µs",
        < 1 => Number(seconds * 1e3, decimals) + " ms",
        < 60 => Number(seconds, decimals) + " s",
        < 3600 => Number(seconds / 60, decimals) + " mins",
        _ => Number(seconds / 3600, decimals) + " hours",
    };

    private static string Number(double value, int decimals) => Math.Round(value, decimals).ToString("0.######", CultureInfo.InvariantCulture);
}

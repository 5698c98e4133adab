using System.Globalization;
using System.Runtime.InteropServices;
using System.Text;

namespace DeepSpeedSharp.Engine.Comm.Logging;

/// <summary>The table of <c>log_summary</c>.</summary>
internal static class CommsSummary
{
    private const int Width = 20;

    /// <summary>Formats records.</summary>
    /// <param name="records">Of this rank.</param>
    /// <param name="straggling">For each record, how long this rank was waited with, in ms; null for a column less, NaN where the
    /// ranks have not made the same calls.</param>
    public static string Table(IReadOnlyList<CommsRecord> records, IReadOnlyList<double>? straggling)
    {
        var text = new StringBuilder();
        Line(["Comm. Op", "Message Size", "Count", "Total Latency(ms)", "Avg Latency(ms)", "tput_avg (Gbps)", "busbw_avg (Gbps)",
            .. straggling is null ? Array.Empty<string>() : ["Straggler(ms)"]]);
        string operation = "";
        for (int i = 0; i < records.Count; i++)
        {
            CommsRecord record = records[i];
            if (record.Operation != operation)
            {
                Line([operation = record.Operation]);
            }

            (double algorithm, double bus) = record.Rates();
            string[] cells = ["", Bandwidth.SizeText(record.Bytes), record.Count.ToString(CultureInfo.InvariantCulture), Two(record.Total), Two(record.Average),
                Two(algorithm), Two(bus)];
            Line(straggling is null ? cells : [.. cells, double.IsNaN(straggling[i]) ? "-" : Two(straggling[i])]);
        }

        return text.ToString().TrimEnd();

        void Line(IReadOnlyList<string> cells) => text.AppendLine(string.Concat(cells.Select(cell => cell.PadRight(Width))).TrimEnd());
    }

    /// <summary>The sum over calls of a rank's own time minus the shortest of any rank: what the others waited for it, or it for
    /// the network.</summary>
    /// <param name="mine">This rank's times.</param>
    /// <param name="all">Those of every rank.</param>
    /// <returns>NaN when the ranks have not made the same number of calls.</returns>
    public static double Straggling(IReadOnlyList<double> mine, IReadOnlyList<IReadOnlyList<double>> all)
    {
        if (all.Any(times => times.Count != mine.Count))
        {
            return double.NaN;
        }

        double sum = 0;
        for (int i = 0; i < mine.Count; i++)
        {
            sum += mine[i] - all.Min(times => times[i]);
        }

        return sum;
    }

    /// <summary>The times of records as bytes, to be gathered.</summary>
    public static byte[] Pack(IReadOnlyList<CommsRecord> records)
    {
        using var bytes = new MemoryStream();
        using var writer = new BinaryWriter(bytes);
        foreach (CommsRecord record in records)
        {
            writer.Write(record.Operation);
            writer.Write(record.Bytes);
            double[] times = [.. record.Times];
            writer.Write(times.Length);
            writer.Write(MemoryMarshal.AsBytes<double>(times));
        }

        writer.Flush();
        return bytes.ToArray();
    }

    /// <summary>What <see cref="Pack"/> has packed.</summary>
    public static IReadOnlyDictionary<(string Operation, long Bytes), IReadOnlyList<double>> Unpack(byte[] bytes)
    {
        using var reader = new BinaryReader(new MemoryStream(bytes));
        var times = new Dictionary<(string, long), IReadOnlyList<double>>();
        while (reader.BaseStream.Position < bytes.Length)
        {
            (string, long) key = (reader.ReadString(), reader.ReadInt64());
            var values = new double[reader.ReadInt32()];
            reader.BaseStream.ReadExactly(MemoryMarshal.AsBytes(values.AsSpan()));
            times[key] = values;
        }

        return times;
    }

    private static string Two(double value) => value.ToString("0.00", CultureInfo.InvariantCulture);
}

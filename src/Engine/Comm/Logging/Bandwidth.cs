using System.Globalization;

namespace DeepSpeedSharp.Engine.Comm.Logging;

/// <summary>What DeepSpeed's communication log computes from a message's size and time.</summary>
internal static class Bandwidth
{
    /// <summary>Part of the shortest and of the longest times that a mean leaves out, each.</summary>
    public const double Trim = 0.1;

    /// <summary>Gigabits per second of a collective.</summary>
    /// <param name="operation">DeepSpeed's name, as "all_reduce".</param>
    /// <param name="bytes">Size of the message: of an all-gather or reduce-scatter, one rank's part.</param>
    /// <param name="milliseconds">Its duration.</param>
    /// <param name="worldSize">Number of ranks.</param>
    /// <returns>By the algorithm: message over time, of an all-reduce twice the message. By the bus: what a link carries, which
    /// does not depend on the number of ranks ("NCCL tests", PERFORMANCE.md).</returns>
    public static (double Algorithm, double Bus) Of(string operation, double bytes, double milliseconds, int worldSize)
    {
        double plain = milliseconds > 0 ? bytes / milliseconds * 8 / 1e6 : 0;
        double n = worldSize;
        return operation.Replace("_coalesced", "", StringComparison.Ordinal) switch
        {
            "all_to_all_single" or "all_to_all" => (plain, plain * ((n - 1) / n)),
            "all_gather" or "all_gather_into_tensor" or "reduce_scatter" or "reduce_scatter_tensor" => (plain * n, plain * n * ((n - 1) / n)),
            "all_reduce" => (plain * 2, plain * (2 * (n - 1) / n)),
            _ => (plain, plain),
        };
    }

    /// <summary>The mean of values without the smallest and the largest.</summary>
    /// <param name="values">In any order.</param>
    /// <param name="trim">Which part to leave out at each end, rounded to whole values.</param>
    /// <returns>0 when there is none.</returns>
    public static double TrimmedMean(IReadOnlyCollection<double> values, double trim = Trim)
    {
        double[] sorted = [.. values.Order()];
        int left = (int)Math.Round(sorted.Length * trim, MidpointRounding.ToEven);
        return sorted.Length - 2 * left <= 0 ? 0 : sorted.AsSpan(left, sorted.Length - 2 * left).ToArray().Average();
    }

    /// <summary>A size in words, as "117.74 MB"; a KB is 1024 bytes, as in DeepSpeed's log.</summary>
    public static string SizeText(long bytes)
    {
        if (bytes == 0)
        {
            return "0B";
        }

        string[] units = ["B", "KB", "MB", "GB", "TB", "PB"];
        double size = bytes;
        int unit = 0;
        for (; size >= 1024 && unit < units.Length - 1; unit++)
        {
            size /= 1024;
        }

        return string.Create(CultureInfo.InvariantCulture, $"{Math.Round(size, 2):0.0#} {units[unit]}");
    }
}

using System.Globalization;
using System.Runtime.InteropServices;

namespace DeepSpeedSharp.Engine.Benchmarks;

/// <summary>What a result file says of the machine it comes from.</summary>
internal static class Machine
{
    /// <summary>Today, as in a file's name.</summary>
    public static string Date => TimeProvider.System.GetUtcNow().ToString("yyyy-MM-dd", CultureInfo.InvariantCulture);

    public static string Processor => File.ReadLines("/proc/cpuinfo").FirstOrDefault(l => l.StartsWith("model name", StringComparison.Ordinal))
        ?.Split(':')[1].Trim() ?? RuntimeInformation.ProcessArchitecture.ToString();

    /// <summary>Processor, cores and day, for a headline.</summary>
    public static string Headline => $"{Processor}, {Environment.ProcessorCount} cores, {Date}";

    /// <summary>libtorch and .NET.</summary>
    public static string Versions =>
        $"libtorch {Native.Dispatcher.AbiVersion >> 56}.{(Native.Dispatcher.AbiVersion >> 48) & 0xFF}, .NET {Environment.Version}";

    /// <summary>How busy the machine is, everything on it counted.</summary>
    public static string LoadAverage => File.ReadAllText("/proc/loadavg").Split(' ')[0];

    /// <summary>Writes a result file and shows it.</summary>
    /// <param name="folder">Where to.</param>
    /// <param name="theme">What was measured.</param>
    /// <param name="text">Markdown.</param>
    /// <returns>Its path.</returns>
    public static string Keep(string folder, string theme, string text)
    {
        Directory.CreateDirectory(folder);
        string path = Path.Combine(folder, $"{theme}_{Environment.ProcessorCount}core_{Date}.md");
        File.WriteAllText(path, text);
        Console.Write(text);
        return path;
    }

    public static double Median(IEnumerable<double> values)
    {
        double[] sorted = [.. values.Order()];
        return (sorted[(sorted.Length - 1) / 2] + sorted[sorted.Length / 2]) / 2;
    }
}

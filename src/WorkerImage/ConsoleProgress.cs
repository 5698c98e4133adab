using System.Globalization;
using DeepSpeedSharp.Engine;

namespace DeepSpeedSharp.Worker;

/// <summary>Shows steps on the console: one live line on a terminal, now and then a plain line elsewhere.</summary>
internal sealed class ConsoleProgress(long totalSteps, int? stepsPerPrint, TextWriter output, bool isTerminal, TimeProvider clock)
{
    private static readonly TimeSpan LiveInterval = TimeSpan.FromMilliseconds(100);
    private static readonly TimeSpan PlainInterval = TimeSpan.FromSeconds(2);

    private long? _lastShown;
    private bool _lineIsOpen;

    /// <summary>Shows a step, unless the last one was shown a moment ago.</summary>
    public void Report(StepMetrics metrics, double tokensPerSecond, double? utilization, TimeSpan timeLeft)
    {
        bool isLast = metrics.Step == totalSteps;
        bool isDue = stepsPerPrint is { } every && !isTerminal
            ? metrics.Step % every == 0
            : _lastShown is not { } last || clock.GetElapsedTime(last) >= (isTerminal ? LiveInterval : PlainInterval);
        if (!isDue && !isLast)
        {
            return;
        }

        _lastShown = clock.GetTimestamp();
        string line = string.Create(CultureInfo.InvariantCulture,
            $"step {metrics.Step}/{totalSteps}  loss {metrics.Loss:0.0000}  lr {metrics.LearningRate:0.00e+0}  "
            + $"{Gradients(metrics)}  {tokensPerSecond:#,0} tokens/s  ")
            + (utilization is { } mfu ? string.Create(CultureInfo.InvariantCulture, $"mfu {100 * mfu:0.0} %  ") : "")
            + $"{Show(timeLeft)} left";
        if (isTerminal)
        {
            output.Write($"\r{line}\u001b[K"); // to the end of the line
            _lineIsOpen = true;
        }
        else
        {
            output.WriteLine(line);
        }
    }

    /// <summary>Writes a line of its own.</summary>
    public void Say(string text)
    {
        if (_lineIsOpen)
        {
            output.WriteLine();
            _lineIsOpen = false;
        }

        output.WriteLine(text);
    }

    private static string Gradients(StepMetrics metrics) => metrics.Overflow
        ? string.Create(CultureInfo.InvariantCulture, $"overflow: skipped, loss scale now {metrics.LossScale:G9}")
        : string.Create(CultureInfo.InvariantCulture, $"grad norm {metrics.GradientNorm ?? double.NaN:0.00}");

    internal static string Show(TimeSpan time) => time switch
    {
        { TotalDays: >= 1 } => $"{(int)time.TotalDays}d{time.Hours:00}h",
        { TotalHours: >= 1 } => $"{(int)time.TotalHours}h{time.Minutes:00}m",
        { TotalMinutes: >= 1 } => $"{(int)time.TotalMinutes}m{time.Seconds:00}s",
        _ => $"{(int)time.TotalSeconds}s",
    };
}

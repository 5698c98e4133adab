using System.Globalization;

namespace DeepSpeedSharp.Engine.Observability;

/// <summary>The line of <c>steps_per_print</c>.</summary>
internal static class ProgressLine
{
    /// <summary>A step as a line: counters, learning rates and momentum of each parameter group, loss.</summary>
    public static string Of(StepMetrics metrics)
    {
        string norm = metrics.Overflow ? "overflow: step skipped" : $"grad_norm={Text(metrics.GradientNorm ?? double.NaN, "0.0000")}";
        string scale = metrics.LossScale is { } s ? $", loss_scale={Text(s, "G9")}" : "";
        return $"step={metrics.Step}, skipped={metrics.SkippedSteps}, lr={List(metrics.LearningRates)}, "
            + $"mom=[{string.Join(", ", metrics.Momentum.Select(List))}], loss={Text(metrics.Loss, "0.0000")}, {norm}{scale}";
    }

    private static string List(IReadOnlyList<double> values) => $"[{string.Join(", ", values.Select(v => Text(v, "G6")))}]";

    private static string Text(double value, string format) => value.ToString(format, CultureInfo.InvariantCulture);
}

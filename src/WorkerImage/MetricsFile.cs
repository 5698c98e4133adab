using System.Text.Json;
using System.Text.Json.Nodes;
using DeepSpeedSharp.Engine;

namespace DeepSpeedSharp.Worker;

/// <summary>One JSON object per optimizer step, appended.</summary>
/// <remarks>A resumed run drops the lines after its checkpoint: those steps are trained, and written, once more. A run
/// that begins anew keeps an earlier run's file beside its own.</remarks>
internal sealed class MetricsFile : IDisposable
{
    private readonly StreamWriter _writer;
    private bool _hasFailed;

    public MetricsFile(string path, long resumedStep)
    {
        if (Path.GetDirectoryName(Path.GetFullPath(path)) is { } folder)
        {
            Directory.CreateDirectory(folder);
        }

        if (File.Exists(path) && resumedStep == 0 && new FileInfo(path).Length > 0)
        {
            int number = 1;
            while (File.Exists($"{path}.{number}"))
            {
                number++;
            }

            File.Move(path, $"{path}.{number}");
        }
        else if (File.Exists(path))
        {
            string kept = path + ".part";
            File.WriteAllLines(kept, File.ReadLines(path).Where(line => StepOf(line) <= resumedStep));
            File.Move(kept, path, overwrite: true);
        }

        _writer = new StreamWriter(path, append: true) { AutoFlush = true, NewLine = "\n" };
    }

    /// <summary>Appends a line. A disk that is full costs metrics, not the training.</summary>
    public void Write(StepMetrics metrics, double tokensPerSecond, double stepSeconds, double? utilization)
    {
        try
        {
            _writer.WriteLine(Line(metrics, tokensPerSecond, stepSeconds, utilization).ToJsonString());
        }
        catch (IOException e) when (!_hasFailed)
        {
            _hasFailed = true;
            Console.Error.WriteLine($"no metrics of step {metrics.Step}, and perhaps of later ones: {e.Message}");
        }
        catch (IOException)
        {
            // said once
        }
    }

    public void Dispose() => _writer.Dispose();

    private static JsonObject Line(StepMetrics metrics, double tokensPerSecond, double stepSeconds, double? utilization)
    {
        var line = new JsonObject
        {
            ["step"] = metrics.Step,
            ["loss"] = Finite(metrics.Loss),
            ["lr"] = metrics.LearningRate,
            ["grad_norm"] = metrics.GradientNorm is { } norm ? Finite(norm) : null,
            ["tokens_per_second"] = tokensPerSecond,
            ["step_seconds"] = stepSeconds,
        };
        if (metrics.LossScale is { } scale)
        {
            line["loss_scale"] = scale;
            line["overflow"] = metrics.Overflow;
            line["skipped_steps"] = metrics.SkippedSteps;
        }

        if (utilization is { } mfu)
        {
            line["mfu"] = Math.Round(mfu, 4);
        }

        return line;
    }

    // A process killed in the middle of a line leaves half of one; it goes too.
    private static long StepOf(string line)
    {
        try
        {
            using JsonDocument document = JsonDocument.Parse(line);
            return document.RootElement.GetProperty("step").GetInt64();
        }
        catch (Exception e) when (e is JsonException or KeyNotFoundException or InvalidOperationException or FormatException)
        {
            return long.MaxValue;
        }
    }

    // JSON has no NaN.
    private static double? Finite(double value) => double.IsFinite(value) ? value : null;
}

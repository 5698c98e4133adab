using DeepSpeedSharp.Config;

namespace DeepSpeedSharp.Engine.Observability;

/// <summary>The monitors that the config asks for. One that cannot write says so once and is dropped: training goes on.</summary>
internal sealed class MonitorSet : IDisposable
{
    private readonly List<IMonitor> _monitors = [];
    private readonly List<(string Metric, double Value)> _events = [];
    private readonly Action<string> _warn;

    public MonitorSet(DeepSpeedConfig config, TimeProvider clock, Action<string> warn)
    {
        _warn = warn;
        if (config.CsvMonitor is { Enabled: true } csv)
        {
            _monitors.Add(new CsvMonitor(FolderOf(csv.OutputPath, csv.JobName, "csv_monitor")));
        }

        if (config.TensorBoard is { Enabled: true } board)
        {
            _monitors.Add(new TensorBoardMonitor(FolderOf(board.OutputPath, board.JobName, "tensorboard"), clock));
        }
    }

    /// <summary>Whether nothing is kept.</summary>
    public bool IsEmpty => _monitors.Count == 0;

    /// <summary>Keeps what a step measured, under DeepSpeed's names.</summary>
    /// <param name="metrics">The step.</param>
    /// <param name="timers">Its times, or null when they were not taken.</param>
    public void Write(StepMetrics metrics, WallClockTimers? timers)
    {
        if (IsEmpty)
        {
            return;
        }

        _events.Clear();
        _events.Add(("Train/Samples/train_loss", metrics.Loss));
        _events.Add(("Train/Samples/lr", metrics.LearningRate));
        if (metrics.GradientNorm is { } norm)
        {
            _events.Add(("Train/Samples/grad_norm", norm));
        }

        if (metrics.LossScale is { } scale)
        {
            _events.Add(("Train/Samples/loss_scale", scale));
        }

        if (timers is not null)
        {
            foreach (Phase phase in Enum.GetValues<Phase>())
            {
                _events.Add(($"Train/Samples/elapsed_time_ms_{WallClockTimers.NameOf(phase)}", Math.Round(timers.Milliseconds(phase), 4)));
            }
        }

        for (int i = _monitors.Count - 1; i >= 0; i--)
        {
            IMonitor monitor = _monitors[i];
            try
            {
                monitor.Write(_events, metrics.GlobalSamples);
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                _warn($"no more metrics in {monitor.Place} from step {metrics.Step} on: {e.Message}; training goes on");
                _monitors.RemoveAt(i);
                Close(monitor);
            }
        }
    }

    public void Dispose()
    {
        _monitors.ForEach(Close);
        _monitors.Clear();
    }

    /// <summary>The folder of a run's metrics.</summary>
    /// <param name="outputPath">Folder of all runs; empty means one named after the monitor in the current folder.</param>
    /// <param name="jobName">Name of the run.</param>
    /// <param name="monitor">Name of the monitor.</param>
    internal static string FolderOf(string outputPath, string jobName, string monitor) =>
        Path.GetFullPath(Path.Combine(outputPath.Length == 0 ? monitor : outputPath, jobName));

    // Closing writes what is left in the buffer, which fails where writing failed.
    private static void Close(IMonitor monitor)
    {
        try
        {
            monitor.Dispose();
        }
        catch (IOException)
        {
            // said before
        }
    }
}

using System.Globalization;

namespace DeepSpeedSharp.Engine.Observability;

/// <summary>The parts of a step that are timed, with DeepSpeed's names.</summary>
internal enum Phase
{
    /// <summary>The model's forward passes.</summary>
    Forward,

    /// <summary>Backward with everything in it.</summary>
    Backward,

    /// <summary>Autograd; reductions that run beside it cost nothing extra.</summary>
    BackwardInner,

    /// <summary>Waiting for the reduction of gradients after autograd has ended.</summary>
    BackwardAllReduce,

    /// <summary>Clipping, optimizer and schedule.</summary>
    Step,
}

/// <summary>Time of one optimizer step, over all its micro batches.</summary>
internal readonly record struct StepTimes(TimeSpan Forward, TimeSpan Backward, TimeSpan Step)
{
    public TimeSpan Total => Forward + Backward + Step;
}

/// <summary>Times the phases of steps. The device is waited for at each start and end, so it is made only when asked for.</summary>
internal sealed class WallClockTimers(TimeProvider clock, Action synchronize)
{
    private static readonly string[] Names = ["forward", "backward", "backward_inner", "backward_allreduce", "step"];
    private readonly long[] _start = new long[Names.Length];
    private readonly bool[] _runs = new bool[Names.Length];
    private readonly double[] _step = new double[Names.Length]; // milliseconds of the step under way
    private readonly double[] _last = new double[Names.Length]; // of the last whole step
    private readonly double[] _sum = new double[Names.Length]; // of the steps since the last report
    private int _steps;

    /// <summary>The last step's time in a phase, in milliseconds.</summary>
    public double Milliseconds(Phase phase) => _last[(int)phase];

    /// <summary>The last step.</summary>
    public StepTimes LastStep => new(Time(Phase.Forward), Time(Phase.Backward), Time(Phase.Step));

    /// <summary>A phase's name in metrics: <c>backward_inner</c>.</summary>
    public static string NameOf(Phase phase) => Names[(int)phase];

    public void Start(Phase phase)
    {
        synchronize();
        (_start[(int)phase], _runs[(int)phase]) = (clock.GetTimestamp(), true);
    }

    /// <summary>Ends a phase; nothing happens when it was not started.</summary>
    public void Stop(Phase phase)
    {
        if (_runs[(int)phase])
        {
            synchronize();
            _step[(int)phase] += clock.GetElapsedTime(_start[(int)phase]).TotalMilliseconds;
            _runs[(int)phase] = false;
        }
    }

    /// <summary>Ends a step: its times become those of the last step.</summary>
    public void EndStep()
    {
        for (int i = 0; i < Names.Length; i++)
        {
            _sum[i] += _step[i];
            (_last[i], _step[i]) = (_step[i], 0);
        }

        _steps++;
    }

    /// <summary>The mean times of the steps since the last report, as a line.</summary>
    public string Report()
    {
        int steps = Math.Max(1, _steps);
        string line = "time (ms) | " + string.Join(" | ", Names.Select((name, i) =>
            $"{name}: {(_sum[i] / steps).ToString("0.00", CultureInfo.InvariantCulture)}"));
        Array.Clear(_sum);
        _steps = 0;
        return line;
    }

    private TimeSpan Time(Phase phase) => TimeSpan.FromMilliseconds(_last[(int)phase]);
}

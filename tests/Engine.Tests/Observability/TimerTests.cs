using DeepSpeedSharp.Engine.Observability;
using Microsoft.Extensions.Time.Testing;

namespace DeepSpeedSharp.Engine.Tests;

public sealed class TimerTests
{
    private readonly FakeTimeProvider _clock = new();

    [Fact]
    public void WallClock_TwoMicroBatchesInTwoSteps_SumsInAStepAndAveragesOverSteps()
    {
        int waits = 0;
        var timers = new WallClockTimers(_clock, () => waits++);

        foreach (double forward in new[] { 10.0, 30 })
        {
            for (int micro = 0; micro < 2; micro++)
            {
                timers.Start(Phase.Forward);
                _clock.Advance(TimeSpan.FromMilliseconds(forward));
                timers.Stop(Phase.Forward);
            }

            timers.Stop(Phase.Backward); // never started
            timers.EndStep();
        }

        Assert.Equal(60, timers.Milliseconds(Phase.Forward));
        Assert.Equal("time (ms) | forward: 40.00 | backward: 0.00 | backward_inner: 0.00 | backward_allreduce: 0.00 | step: 0.00", timers.Report());
        Assert.Contains("forward: 0.00", timers.Report(), StringComparison.Ordinal); // the window begins anew
        Assert.Equal(8, waits);
    }

    [Fact]
    public void Throughput_SlowStart_IsLeftOutAndCurrentIsSinceTheLastReport()
    {
        int waits = 0;
        var timer = new ThroughputTimer(_clock, () => waits++);

        Run(2, 5000);
        Assert.Null(timer.Speed);
        Run(2, 1000);
        Assert.Equal((32.0, 32.0), timer.Speed);
        Run(4, 250);
        (double running, double current) = timer.Speed!.Value;

        Assert.Equal(128, current, 1e-9);
        Assert.Equal(6 * 32 / 3.0, running, 1e-9);
        Assert.Equal(3, waits); // after the warm-up, and for each report

        void Run(int steps, double milliseconds)
        {
            for (int i = 1; i <= steps; i++)
            {
                _clock.Advance(TimeSpan.FromMilliseconds(milliseconds));
                timer.EndStep(32, isReported: i == steps);
            }
        }
    }
}

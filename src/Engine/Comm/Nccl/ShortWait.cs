using System.Diagnostics;

namespace DeepSpeedSharp.Engine.Comm.Nccl;

/// <summary>A wait for a call to be queued, which mostly takes some hundred microseconds: it yields for a moment, and sleeps only when it
/// takes longer. In stage 3 there are hundreds of them in a step, and a sleep is a millisecond.</summary>
internal struct ShortWait()
{
    private const int NeverSleeps = -1, SleepsAfter = 20;

    private static readonly TimeSpan Awake = TimeSpan.FromMilliseconds(2);

    private readonly long _start = Stopwatch.GetTimestamp();
    private SpinWait _spin;

    /// <summary>How long it has taken so far.</summary>
    public readonly TimeSpan Waited => Stopwatch.GetElapsedTime(_start);

    /// <summary>Waits a little.</summary>
    public void Pause() => _spin.SpinOnce(Waited < Awake ? NeverSleeps : SleepsAfter);
}

namespace DeepSpeedSharp.Config.Schedules;

/// <summary>How far a warm-up has come; the three warm-up schedules share it.</summary>
/// <param name="steps">Length in optimizer steps.</param>
/// <param name="type">"log" or "linear".</param>
internal sealed class Warmup(int steps, string type)
{
    private readonly bool _isLinear = type == "linear";

    /// <summary>Length in optimizer steps; DeepSpeed treats 1 as 2, because the logarithm of 1 is 0.</summary>
    public int Steps { get; } = Math.Max(2, steps);

    /// <summary>From 0 at the start to 1 at the end. A logarithmic warm-up is still 0 after the first step.</summary>
    public double At(long iteration) => iteration < 0 ? 0 : iteration >= Steps ? 1
        : _isLinear ? (double)iteration / Steps : Math.Log(iteration + 1) / Math.Log(Steps);
}

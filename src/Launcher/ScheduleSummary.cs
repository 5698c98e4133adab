using System.Globalization;
using DeepSpeedSharp.Config;

namespace DeepSpeedSharp.Launcher;

/// <summary>A learning-rate schedule in one line.</summary>
internal static class ScheduleSummary
{
    public static string Describe(ScheduleConfig? schedule, OptimizerConfig? optimizer)
    {
        string own = optimizer is null ? "the optimizer's rate" : OptimizerSummary.Number(optimizer.Params.LearningRate);
        return schedule is null ? "constant learning rate" : $"{schedule.Type}: {Curve(schedule.Params, own)}";
    }

    private static string Curve(ScheduleParams schedule, string own) => schedule switch
    {
        WarmupParams p => Text($"{Rates(p.MinLearningRate)} to {Rates(p.MaxLearningRate, own)} in {p.Steps} steps, {p.Type}"),
        WarmupDecayParams p => Text($"{Rates(p.MinLearningRate)} to {Rates(p.MaxLearningRate)} in {p.Steps} steps, {p.Type}; ")
            + Text($"then straight to 0 at step {p.TotalSteps}"),
        WarmupCosineParams p => Text($"{Share(p.MinRatio)} to all of {own} in {p.Steps} steps, {p.Type}; ")
            + Text($"then half a cosine to {Share(p.CosineMinRatio)} at step {p.TotalSteps}"),
        OneCycleParams p => Text($"{Rates(p.MinLearningRate)} to {Rates(p.MaxLearningRate)} in {p.FirstStepSize} steps and ")
            + Text($"back in {p.SecondStepSize ?? p.FirstStepSize}; {After(p)}")
            + (p.CycleMomentum ? Text($"; momentum {p.MaxMomentum} to {p.MinMomentum} and back") : ""),
        LRRangeTestParams p => Text($"from {Rates(p.MinLearningRate)}, growing by {OptimizerSummary.Number(p.StepRate)} of it ")
            + Text($"every {p.StepSize} steps{(p.Staircase ? ", in stairs" : "")}"),
        _ => schedule.ToString(),
    };

    private static string After(OneCycleParams p) => p.DecayStepSize == 0 || p.DecayLearningRate == 0
        ? "then constant" : Text($"then decaying by {OptimizerSummary.Number(p.DecayLearningRate)} every {p.DecayStepSize} steps");

    private static string Rates(IReadOnlyList<double>? rates, string otherwise = "") => rates is null
        ? otherwise : string.Join(" / ", rates.Select(OptimizerSummary.Number));

    private static string Share(double ratio) => ratio switch
    {
        0 => "0",
        1 => "all",
        _ => OptimizerSummary.Number(ratio) + " of it",
    };

    private static string Text(FormattableString text) => text.ToString(CultureInfo.InvariantCulture);
}

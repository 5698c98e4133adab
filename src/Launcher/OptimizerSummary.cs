using System.Globalization;
using DeepSpeedSharp.Config;

namespace DeepSpeedSharp.Launcher;

/// <summary>An optimizer in one line.</summary>
internal static class OptimizerSummary
{
    public static string Describe(OptimizerConfig? optimizer) => optimizer is null
        ? "none in the config; the program brings its own"
        : $"{optimizer.Type}: {string.Join(", ", Parts(optimizer.Params))}";

    /// <summary>1e-8 as in the config, not .NET's 1E-08.</summary>
    public static string Number(double value) => value.ToString(CultureInfo.InvariantCulture)
        .Replace("E-0", "e-", StringComparison.Ordinal).Replace("E", "e", StringComparison.Ordinal);

    private static IEnumerable<string> Parts(OptimizerParams optimizer) => optimizer switch
    {
        AdamParams p =>
        [
            Rate(p), Betas(p.Betas), Epsilon(p.Epsilon), Decay(p, p.WeightDecay == 0 ? "" : p.AdamWMode ? " (decoupled)" : " (L2)"),
            .. Only(!p.BiasCorrection, "no bias correction"),
        ],
        SgdParams p => [Rate(p), $"momentum {Number(p.Momentum)}{(p.Nesterov ? " (Nesterov)" : "")}", Decay(p)],
        LambParams p =>
        [
            Rate(p), Betas(p.Betas), Epsilon(p.Epsilon), Decay(p),
            $"trust ratio {Number(p.MinCoefficient)} to {Number(p.MaxCoefficient)}",
            .. Only(!p.BiasCorrection, "no bias correction"),
        ],
        LionParams p => [Rate(p), Betas(p.Betas), Decay(p)],
        AdagradParams p => [Rate(p), Epsilon(p.Epsilon), Decay(p)],
        MuonParams p =>
        [
            $"lr {Number(p.MuonLearningRate)} for matrices with momentum {Number(p.Momentum)}",
            $"AdamW lr {Number(p.AdamLearningRate)} for the rest", Betas(p.Betas), Epsilon(p.Epsilon), Decay(p),
        ],
        _ => [Rate(optimizer), Decay(optimizer)],
    };

    private static string Rate(OptimizerParams p) => $"lr {Number(p.LearningRate)}";

    private static string Betas(IReadOnlyList<double> betas) => $"betas {Number(betas[0])} and {Number(betas[1])}";

    private static string Epsilon(double epsilon) => $"eps {Number(epsilon)}";

    private static string Decay(OptimizerParams p, string kind = "") => $"weight decay {Number(p.WeightDecay)}{kind}";

    private static IEnumerable<string> Only(bool holds, string text) => holds ? [text] : [];
}

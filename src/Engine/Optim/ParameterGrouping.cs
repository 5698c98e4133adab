using DeepSpeedSharp.Config;

namespace DeepSpeedSharp.Engine.Optim;

/// <summary>Decides which parameters are trained with which numbers, before they get a place in the flat buffers.</summary>
internal static class ParameterGrouping
{
    /// <summary>The groups.</summary>
    /// <param name="optimizer">The config's numbers.</param>
    /// <param name="parameters">Trainable parameters, in the model's order.</param>
    /// <param name="options">The caller's groups; null is one group.</param>
    /// <returns>Groups that are not empty; every parameter is in one.</returns>
    /// <exception cref="ArgumentException">A parameter is in no group.</exception>
    public static IReadOnlyList<GroupSpec> For(OptimizerParams optimizer, IReadOnlyList<(string Name, long[] Shape)> parameters,
        IReadOnlyList<ParameterGroupOptions>? options)
    {
        options ??= [new ParameterGroupOptions { Name = "all" }];
        var left = parameters.ToList();
        var groups = new List<GroupSpec>();
        for (int i = 0; i < options.Count; i++)
        {
            ParameterGroupOptions option = options[i];
            (string Name, long[] Shape)[] members = [.. left.Where(p => option.Includes?.Invoke(p.Name) ?? true)];
            left.RemoveAll(p => members.Any(m => m.Name == p.Name));
            foreach ((string suffix, OptimizerParams numbers, string[] names) in ByKind(optimizer, members).Where(g => g.Names.Length > 0))
            {
                groups.Add(new GroupSpec((option.Name ?? $"group {i}") + suffix, numbers with
                {
                    LearningRate = option.LearningRate ?? numbers.LearningRate,
                    WeightDecay = option.WeightDecay ?? numbers.WeightDecay,
                }, names));
            }
        }

        return left.Count == 0 ? groups : throw new ArgumentException($"{left.Count} trainable parameters are in no group: "
            + $"{string.Join(", ", left.Take(5).Select(p => p.Name))}{(left.Count > 5 ? ", ..." : "")}; add a group that "
            + "includes them, for example a last one without a condition, or set requires_grad to false", nameof(options));
    }

    // Muon trains matrices inside the network; embeddings, the output layer, norms and biases go to AdamW.
    private static IEnumerable<(string Suffix, OptimizerParams Params, string[] Names)> ByKind(
        OptimizerParams optimizer, IReadOnlyList<(string Name, long[] Shape)> members)
    {
        if (optimizer is not MuonParams muon)
        {
            return [("", optimizer, [.. members.Select(m => m.Name)])];
        }

        string[] matrices = [.. members.Where(m => m.Shape.Length >= 2 && !m.Name.Contains("embed", StringComparison.Ordinal)
            && !m.Name.Contains("lm_head", StringComparison.Ordinal)).Select(m => m.Name)];
        var adam = new AdamParams
        {
            LearningRate = muon.AdamLearningRate,
            WeightDecay = muon.WeightDecay,
            Betas = muon.Betas,
            Epsilon = muon.Epsilon,
        };
        return [(" (muon)", muon with { LearningRate = muon.MuonLearningRate }, matrices),
            (" (adam)", adam, [.. members.Select(m => m.Name).Except(matrices)])];
    }
}

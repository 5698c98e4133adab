using DeepSpeedSharp.Config;

namespace DeepSpeedSharp.Engine.Optim;

/// <summary>Decides which parameters are trained with which numbers, before they get a place in the flat buffers.</summary>
internal static class ParameterGrouping
{
    private const int Shown = 5; // names in a message

    /// <summary>The groups.</summary>
    /// <param name="optimizer">The config's numbers.</param>
    /// <param name="parameters">Trainable parameters, in the model's order.</param>
    /// <param name="options">The caller's groups; null is one group.</param>
    /// <returns>Groups that are not empty; every parameter is in one.</returns>
    /// <exception cref="ArgumentException">A parameter is in no group or in two, or a group names one that does not
    /// exist or has impossible numbers; the message has all of it.</exception>
    public static IReadOnlyList<GroupSpec> For(OptimizerParams optimizer, IReadOnlyList<(string Name, long[] Shape)> parameters,
        IReadOnlyList<ParameterGroupOptions>? options)
    {
        options ??= [new ParameterGroupOptions { Name = "all" }];
        var problems = new List<string>();
        CheckNames(options, parameters, problems);
        var named = options.SelectMany(o => o.Names ?? []).ToHashSet();
        var left = parameters.ToList();
        var groups = new List<GroupSpec>();
        for (int i = 0; i < options.Count; i++)
        {
            ParameterGroupOptions option = options[i];
            string title = Title(options, i);
            (string Name, long[] Shape)[] members = [.. left.Where(p => IsMember(option, p.Name, named))];
            left.RemoveAll(p => members.Any(m => m.Name == p.Name));
            foreach ((string suffix, OptimizerParams numbers, string[] names) in ByKind(optimizer, members).Where(g => g.Names.Length > 0))
            {
                groups.Add(new GroupSpec(title + suffix, GroupNumbers.Of(numbers, option, title, problems), names));
            }
        }

        Report(problems, left.Select(p => p.Name), "are in no group",
            "add a group that includes them, for example a last one without a condition, or set requires_grad to false");
        return problems.Count == 0 ? groups
            : throw new ArgumentException($"the parameter groups do not fit the model: {string.Join("; ", problems.Distinct())}", nameof(options));
    }

    private static string Title(IReadOnlyList<ParameterGroupOptions> options, int index) => options[index].Name ?? $"group {index}";

    private static bool IsMember(ParameterGroupOptions option, string name, HashSet<string> named) => named.Contains(name)
        ? option.Names?.Contains(name) == true
        : option.Includes?.Invoke(name) ?? option.Names is null;

    private static void CheckNames(
        IReadOnlyList<ParameterGroupOptions> options, IReadOnlyList<(string Name, long[] Shape)> parameters, List<string> problems)
    {
        var known = parameters.Select(p => p.Name).ToHashSet();
        for (int i = 0; i < options.Count; i++)
        {
            Report(problems, (options[i].Names ?? []).Where(name => !known.Contains(name)),
                $"of {Title(options, i)} are no trainable parameters of the model", "see named_parameters() for the names");
        }

        Report(problems, options.SelectMany(o => (o.Names ?? []).Distinct()).GroupBy(name => name).Where(g => g.Count() > 1).Select(g => g.Key),
            "are in more than one group", "name each once");
    }

    private static void Report(List<string> problems, IEnumerable<string> names, string what, string fix)
    {
        string[] all = [.. names];
        if (all.Length > 0)
        {
            problems.Add($"{string.Join(", ", all.Take(Shown))}{(all.Length > Shown ? $" and {all.Length - Shown} more" : "")} {what}: {fix}");
        }
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

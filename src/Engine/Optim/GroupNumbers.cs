using DeepSpeedSharp.Config;

namespace DeepSpeedSharp.Engine.Optim;

/// <summary>The numbers of a group: the config's, except where the group has its own.</summary>
internal static class GroupNumbers
{
    /// <summary>Merges both.</summary>
    /// <param name="numbers">The config's.</param>
    /// <param name="option">The group's.</param>
    /// <param name="title">The group's name, for messages.</param>
    /// <param name="problems">Receives what is wrong with the group's numbers.</param>
    public static OptimizerParams Of(OptimizerParams numbers, ParameterGroupOptions option, string title, List<string> problems)
    {
        Check(option.LearningRate is null or >= 0 and < double.PositiveInfinity, "learning rate", option.LearningRate, "use 0 or more");
        Check(option.WeightDecay is null or >= 0 and < double.PositiveInfinity, "weight decay", option.WeightDecay, "use 0 or more");
        Check(option.Beta1 is null or >= 0 and < 1, "first beta", option.Beta1, "use 0 or more, below 1");
        Check(option.Beta2 is null or >= 0 and < 1, "second beta", option.Beta2, "use 0 or more, below 1");
        bool hasMomentum = numbers is not AdagradParams, hasBetas = hasMomentum && numbers is not SgdParams;
        Check(option.Beta1 is null || hasMomentum, "first beta", option.Beta1, "the optimizer has none, remove it");
        Check(option.Beta2 is null || hasBetas, "second beta", option.Beta2, "the optimizer has none, remove it");
        OptimizerParams own = numbers with
        {
            LearningRate = option.LearningRate ?? numbers.LearningRate,
            WeightDecay = option.WeightDecay ?? numbers.WeightDecay,
        };
        return own switch
        {
            AdamParams p => p with { Betas = Betas(p.Betas) },
            LambParams p => p with { Betas = Betas(p.Betas) },
            LionParams p => p with { Betas = Betas(p.Betas) },
            SgdParams p => p with { Momentum = option.Beta1 ?? p.Momentum },
            MuonParams p => p with { Momentum = option.Beta1 ?? p.Momentum },
            _ => own,
        };

        void Check(bool isRight, string what, double? value, string fix)
        {
            if (!isRight)
            {
                problems.Add(FormattableString.Invariant($"the {what} of {title} is {value}: {fix}"));
            }
        }

        IReadOnlyList<double> Betas(IReadOnlyList<double> config) => option is { Beta1: null, Beta2: null }
            ? config : [option.Beta1 ?? config[0], option.Beta2 ?? config[1]];
    }
}

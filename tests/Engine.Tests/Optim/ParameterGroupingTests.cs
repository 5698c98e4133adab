using DeepSpeedSharp.Config;
using DeepSpeedSharp.Engine.Optim;

namespace DeepSpeedSharp.Engine.Tests.Optim;

public sealed class ParameterGroupingTests
{
    private static readonly (string Name, long[] Shape)[] Model =
    [
        ("wte.embed", [50, 4]), ("h.0.attn.weight", [4, 4]), ("h.0.attn.bias", [4]), ("h.0.conv.weight", [4, 4, 3]),
        ("ln_f.weight", [4]), ("lm_head.weight", [50, 4]),
    ];

    [Fact]
    public void For_NoGroups_IsOneInTheModelsOrder()
    {
        GroupSpec group = Assert.Single(ParameterGrouping.For(new AdamParams { LearningRate = 0.5 }, Model, null));

        Assert.Equal(Model.Select(p => p.Name), group.ParameterNames);
        Assert.Equal(0.5, group.Params.LearningRate);
    }

    [Fact]
    public void For_Conditions_FirstThatIncludesGetsIt()
    {
        IReadOnlyList<GroupSpec> groups = ParameterGrouping.For(new AdamParams { WeightDecay = 0.1 }, Model,
        [
            new() { Name = "none", Includes = _ => false },
            new() { Name = "no decay", Includes = n => n.EndsWith("bias", StringComparison.Ordinal) || n.Contains("ln_", StringComparison.Ordinal), WeightDecay = 0 },
            new() { Beta2 = 0.95 },
        ]);

        Assert.Equal(["no decay", "group 2"], groups.Select(g => g.Name));
        Assert.Equal(["h.0.attn.bias", "ln_f.weight"], groups[0].ParameterNames);
        Assert.Equal([0, 0.1], groups.Select(g => g.Params.WeightDecay));
        Assert.Equal([0.9, 0.95], ((AdamParams)groups[1].Params).Betas);
    }

    [Fact]
    public void For_Names_WinOverEarlierConditions()
    {
        IReadOnlyList<GroupSpec> groups = ParameterGrouping.For(new SgdParams(), Model,
            [new(), new() { Names = ["lm_head.weight"], Beta1 = 0.5 }]);

        Assert.DoesNotContain("lm_head.weight", groups[0].ParameterNames);
        Assert.Equal(["lm_head.weight"], groups[1].ParameterNames);
        Assert.Equal(0.5, ((SgdParams)groups[1].Params).Momentum);
    }

    [Fact]
    public void For_Muon_TrainsInnerMatricesOnly()
    {
        IReadOnlyList<GroupSpec> groups = ParameterGrouping.For(
            new MuonParams { MuonLearningRate = 0.3, AdamLearningRate = 0.001, WeightDecay = 0.2 }, Model, null);

        Assert.Equal(["h.0.attn.weight", "h.0.conv.weight"], groups[0].ParameterNames);
        Assert.Equal(0.3, Assert.IsType<MuonParams>(groups[0].Params).LearningRate);
        Assert.Equal(["wte.embed", "h.0.attn.bias", "ln_f.weight", "lm_head.weight"], groups[1].ParameterNames);
        Assert.Equal((0.001, 0.2), (Assert.IsType<AdamParams>(groups[1].Params).LearningRate, groups[1].Params.WeightDecay));
    }

    [Fact]
    public void For_SeveralMistakes_NamesThemAll()
    {
        var error = Assert.Throws<ArgumentException>(() => ParameterGrouping.For(new SgdParams(), Model,
        [
            new() { Name = "a", Names = ["ln_f.weight", "lost"], Beta2 = 0.9, LearningRate = -1 },
            new() { Name = "b", Names = ["ln_f.weight"], Includes = n => n.StartsWith("h.", StringComparison.Ordinal), WeightDecay = double.NaN },
        ]));

        Assert.Contains("lost of a are no trainable parameters", error.Message, StringComparison.Ordinal);
        Assert.Contains("ln_f.weight are in more than one group", error.Message, StringComparison.Ordinal);
        Assert.Contains("wte.embed, lm_head.weight are in no group", error.Message, StringComparison.Ordinal);
        Assert.Contains("learning rate of a is -1", error.Message, StringComparison.Ordinal);
        Assert.Contains("second beta of a is 0.9: the optimizer has none", error.Message, StringComparison.Ordinal);
        Assert.Contains("weight decay of b is NaN", error.Message, StringComparison.Ordinal);
    }
}

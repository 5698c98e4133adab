using DeepSpeedSharp.Config;
using DeepSpeedSharp.Engine.Optim;
using TorchSharp;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine.Tests.Optim;

/// <summary>Scaled and 16-bit gradients, overflows and rounded copies, for every optimizer.</summary>
public sealed class ScaledStepTests
{
    // A long tensor, so that several pieces are needed, and a matrix for Muon.
    private static readonly long[][] Shapes = [[70_000], [6, 5], [3]];

    public static TheoryData<string, bool> Optimizers() => new()
    {
        { "Adam", true }, { "Adam", false }, { "SGD", true }, { "SGD", false }, { "Lamb", true }, { "Lion", true },
        { "Adagrad", true }, { "Adagrad", false }, { "Muon", true }, { "Muon", false },
    };

    [Theory]
    [MemberData(nameof(Optimizers))]
    public void Step_ScaledBf16Gradients_AsTheirFp32Quotients(string type, bool fused)
    {
        using var scope = NewDisposeScope();
        Layout scaledLayout = LayoutOf(type), layout = LayoutOf(type);
        Tensor values = layout.Random(1, 0.1), scaledValues = values.clone(), copy = zeros(layout.Elements, bfloat16);
        using FlatOptimizer optimizer = layout.Optimizer(type, fused);
        using FlatOptimizer scaled = scaledLayout.Optimizer(type, fused);

        for (int step = 0; step < 3; step++)
        {
            Tensor gradients = layout.Random(10 + step, 8).to(bfloat16);
            optimizer.Step(values, gradients.to(float32) / 8, default, null);
            scaled.Step(scaledValues, gradients, new StepScale(tensor(8f), zeros([])), copy);
        }

        Vectors.Close(values.data<float>().ToArray(), scaledValues.data<float>().ToArray(), relative: 1e-6, absolute: 1e-7);
        Assert.Equal(scaledValues.to(bfloat16).to(float32).data<float>().ToArray(), copy.to(float32).data<float>().ToArray());
    }

    // Through libtorch's kernels, which GPUs use; on the CPU the factory prefers others.
    [Theory]
    [InlineData("Adam")]
    [InlineData("SGD")]
    [InlineData("Adagrad")]
    public void Step_FoundInf_KernelsLeaveEverythingUntouched(string type)
    {
        using var scope = NewDisposeScope();
        Layout layout = LayoutOf(type);
        Tensor values = layout.Random(1), before = values.clone(), untouched = values.clone();
        using FlatOptimizer fused = Fused(type, layout);
        using FlatOptimizer undisturbed = Fused(type, LayoutOf(type));
        Assert.False(fused.NeedsOverflowKnown);

        fused.Step(values, full([layout.Elements], float.NaN), new StepScale(tensor(2f), ones([])), null);
        fused.UndoStep();

        Assert.Equal(before.data<float>().ToArray(), values.data<float>().ToArray());
        Assert.All(fused.States, s => Assert.Equal(0f, ((TensorShard)s.State).Tensor.abs().sum().ToSingle()));
        fused.Step(values, layout.Random(2), new StepScale(null, zeros([])), null);
        undisturbed.Step(untouched, layout.Random(2), default, null);
        Assert.Equal(untouched.data<float>().ToArray(), values.data<float>().ToArray());
    }

    [Theory]
    [InlineData("Adam")]
    [InlineData("SGD")]
    [InlineData("Adagrad")]
    [InlineData("Muon")]
    public void Step_FusedKernel_AgreesWithThePlainFormulas(string type)
    {
        using var scope = NewDisposeScope();
        Layout layout = LayoutOf(type), plainLayout = LayoutOf(type);
        Tensor values = layout.Random(1), plainValues = values.clone();
        using FlatOptimizer fused = Fused(type, layout);
        using FlatOptimizer plain = plainLayout.Optimizer(type, fused: false);

        for (int step = 0; step < 20; step++)
        {
            fused.Step(values, layout.Random(step), default, null);
            plain.Step(plainValues, layout.Random(step), default, null);
        }

        Vectors.Close(plainValues.data<float>().ToArray(), values.data<float>().ToArray(), relative: 2e-6, absolute: 1e-6);
    }

    [Fact]
    public void Step_LionMeanOfZero_MovesNothing()
    {
        using var scope = NewDisposeScope();
        var layout = new Layout(new LionParams { LearningRate = 0.1 }, [2]);
        Tensor values = layout.Spread([1, 1]);
        using FlatOptimizer lion = layout.Optimizer("Lion", fused: true);

        lion.Step(values, layout.Spread([0, 3]), default, null);

        Vectors.Close([1, 0.9f], layout.Gather(values), 0, 1e-7);
    }

    [Fact]
    public void Step_AdamWithoutBiasCorrection_UpdatesByTheUncorrectedMoments()
    {
        using var scope = NewDisposeScope();
        foreach (bool fused in new[] { true, false })
        {
            var layout = new Layout(new AdamParams { LearningRate = 0.1, BiasCorrection = false }, [1]);
            Tensor values = layout.Spread([1]);
            using FlatOptimizer adam = layout.Optimizer("Adam", fused);

            adam.Step(values, layout.Spread([2]), default, null);

            // m = 0.1*2, v = 0.001*4, so the update is 0.1 * 0.2 / sqrt(0.004).
            Assert.Equal(1 - 0.1 * 0.2 / Math.Sqrt(0.004), layout.Gather(values)[0], 1e-5);
        }
    }

    [Fact]
    public void Create_AdamOnTheCpu_IsOurOwnUnlessThePlainWayIsAskedFor()
    {
        using FlatOptimizer own = new Layout(new AdamParams(), [4]).Optimizer("AdamW", fused: true);
        using FlatOptimizer plain = new Layout(new AdamParams { TorchAdam = true }, [4]).Optimizer("AdamW", fused: true);

        Assert.IsType<CpuAdam>(own);
        Assert.IsType<Adam>(plain);
        Assert.Equal("AdamW", own.Name);
    }

    private static FlatOptimizer Fused(string type, Layout layout) => type == "Adam"
        ? new Adam(type, layout.Groups, layout.Elements, CPU, fused: true) : layout.Optimizer(type, fused: true);

    private static Layout LayoutOf(string type)
    {
        OptimizerParams numbers = type switch
        {
            "Adam" => new AdamParams(),
            "SGD" => new SgdParams { Momentum = 0.9, Nesterov = true },
            "Lamb" => new LambParams(),
            "Lion" => new LionParams(),
            "Adagrad" => new AdagradParams(),
            _ => new MuonParams(),
        };
        numbers = numbers with { LearningRate = 0.01, WeightDecay = 0.1 };
        return numbers is MuonParams
            ? new Layout([(numbers, [[6, 5], [4, 3, 2]]), (new AdamParams { LearningRate = 0.01 }, [[70_000], [3]])])
            : new Layout(numbers, Shapes);
    }
}

using DeepSpeedSharp.Config;
using DeepSpeedSharp.Engine.Optim;
using DeepSpeedSharp.Engine.Tests.Optim;
using TorchSharp;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine.Tests.Devices;

/// <summary>Adam's one-pass kernel on a GPU against the plain formulas on the same tensors.</summary>
public sealed class CudaAdamKernelTests
{
    public static TheoryData<ScalarType, ScalarType, bool, bool> Cases()
    {
        var data = new TheoryData<ScalarType, ScalarType, bool, bool>();
        foreach (ScalarType gradients in (ScalarType[])[ScalarType.Float32, ScalarType.BFloat16, ScalarType.Float16])
        {
            foreach (ScalarType copy in (ScalarType[])[ScalarType.Float32, ScalarType.BFloat16, ScalarType.Float16])
            {
                data.Add(gradients, copy, true, true);
                data.Add(gradients, copy, false, false);
            }
        }

        return data;
    }

    [Theory]
    [MemberData(nameof(Cases))]
    public void Step_AnyTypes_EqualsThePlainFormulas(ScalarType gradientType, ScalarType copyType, bool decoupled, bool corrects)
    {
        PrecisionParityTests.SkipWithout("cuda");
        using var scope = NewDisposeScope();
        var numbers = new AdamParams { LearningRate = 0.01, WeightDecay = 0.1, AdamWMode = decoupled, BiasCorrection = corrects };
        // A group that ends within a vector of four, and one that is a single value.
        var layout = new Layout([(numbers, [[1000, 37], [5]]), (numbers with { LearningRate = 0.02 }, [[1]])]);
        using var kernel = new Adam("Adam", layout.Groups, layout.Elements, CUDA);
        using var plain = new Adam("Adam", layout.Groups, layout.Elements, CUDA, fused: false);
        Assert.False(kernel.NeedsOverflowKnown);
        Tensor start = randn(layout.Elements, device: CUDA);
        (Tensor a, Tensor b) = (start.clone(), start.clone());
        Tensor? copy = copyType == ScalarType.Float32 ? null : zeros(layout.Elements, copyType, CUDA);
        Tensor divisor = full([], 8f, device: CUDA);
        for (int step = 0; step < 10; step++)
        {
            Tensor gradients = randn(layout.Elements, device: CUDA).mul_(8).to(gradientType);
            bool overflows = step == 4;
            Tensor found = full([], overflows ? 1f : 0f, device: CUDA);

            kernel.Step(a, gradients.clone(), new StepScale(divisor, found), copy);
            if (overflows)
            {
                kernel.UndoStep();
            }
            else
            {
                plain.Step(b, gradients.clone(), new StepScale(divisor, null), null);
            }
        }

        foreach (ParameterSlot slot in layout.Slots)
        {
            Tensor expected = b.narrow(0, slot.Offset, slot.Elements);
            Tensor actual = a.narrow(0, slot.Offset, slot.Elements);
            // Without bias correction the first updates are three times the learning rate, and so are their roundings.
            Assert.True(allclose(expected, actual, 2e-5, corrects ? 2e-6 : 1e-5), $"{slot.Name}: off by {(expected - actual).abs().max().ToSingle()}");
            if (copy is not null)
            {
                Assert.True(actual.to(copyType).eq(copy.narrow(0, slot.Offset, slot.Elements)).all().ToBoolean(), slot.Name);
            }
        }

        Assert.Equal(9, kernel.Steps);
    }

    [Fact]
    public void Kernel_OnThisMachinesGpu_CanBeUsed()
    {
        PrecisionParityTests.SkipWithout("cuda");

        Assert.Null(Kernels.CudaAdamKernel.ReasonAgainst(CUDA));
    }
}

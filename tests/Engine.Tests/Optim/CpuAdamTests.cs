using DeepSpeedSharp.Config;
using DeepSpeedSharp.Engine.Optim;
using TorchSharp;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine.Tests.Optim;

/// <summary>The CPU's own Adam against the plain formulas.</summary>
public sealed class CpuAdamTests
{
    public static TheoryData<long, bool, bool, ScalarType, ScalarType?> Cases() => new()
    {
        { 0, true, true, float32, null },
        { 1, true, true, float32, null },
        { 7, false, true, float32, bfloat16 },
        { 8, true, false, bfloat16, float16 },
        { 1009, true, true, float16, bfloat16 },
        { 1009, false, true, bfloat16, null },
        { 1009, false, false, float16, null },
        { 1009, true, true, bfloat16, bfloat16 },
        { 1009, true, true, float16, float16 },
        { 100_003, true, true, float32, float16 },
    };

    [Theory]
    [MemberData(nameof(Cases))]
    public void Step_TwentyTimes_AgreesWithThePlainFormulas(
        long elements, bool decoupled, bool biasCorrection, ScalarType gradientType, ScalarType? copyType)
    {
        var numbers = new AdamParams { LearningRate = 0.01, WeightDecay = 0.1, AdamWMode = decoupled, BiasCorrection = biasCorrection };
        // Two groups with different rates, the first of one odd tensor, so that the second starts behind a gap.
        var layout = new Layout([(numbers, [[elements]]), (numbers with { LearningRate = 0.003 }, [[elements], [3]])]);
        var plainLayout = new Layout([(numbers, [[elements]]), (numbers with { LearningRate = 0.003 }, [[elements], [3]])]);
        using var scope = NewDisposeScope();
        Tensor values = layout.Random(1), plainValues = values.clone();
        Tensor? copy = copyType is { } type ? zeros(layout.Elements, type) : null;
        Tensor divisor = tensor(16f);
        using var fast = new CpuAdam("Adam", layout.Groups, layout.Elements, threads: 3);
        using var plain = new Adam("Adam", plainLayout.Groups, layout.Elements, CPU, fused: false);

        for (int step = 0; step < 20; step++)
        {
            Tensor gradients = layout.Random(100 + step, scale: 16).to(gradientType);
            plain.Step(plainValues, gradients.to(float32, copy: true), new StepScale(divisor, null), null);
            fast.Step(values, gradients, new StepScale(divisor, zeros([])), copy);
        }

        Vectors.Close(plainValues.data<float>().ToArray(), values.data<float>().ToArray(), relative: 1e-6, absolute: 1e-6);
        for (int i = 0; i < 2; i++)
        {
            Vectors.Close(((TensorShard)plain.States[i].State).Tensor.data<float>().ToArray(), ((TensorShard)fast.States[i].State).Tensor.data<float>().ToArray(), 1e-5, 1e-7);
        }

        if (copy is not null)
        {
            Assert.Equal(values.to(copy.dtype).to(float32).data<float>().ToArray(), copy.to(float32).data<float>().ToArray());
        }
    }

    [Fact]
    public void Step_AnyNumberOfThreads_GivesTheSameBits()
    {
        using var scope = NewDisposeScope();
        float[][] results = [.. new[] { 1, 2, 5 }.Select(threads =>
        {
            var layout = new Layout(new AdamParams { LearningRate = 0.01 }, [300_007]);
            Tensor values = layout.Random(1);
            using var adam = new CpuAdam("Adam", layout.Groups, layout.Elements, threads);
            for (int step = 0; step < 5; step++)
            {
                adam.Step(values, layout.Random(step), default, null);
            }

            return values.data<float>().ToArray();
        })];

        Assert.Equal(results[0], results[1]);
        Assert.Equal(results[0], results[2]);
    }

    [Fact]
    public void Step_AfterAnOverflow_GoesOnAsIfItHadNotBeen()
    {
        using var scope = NewDisposeScope();
        var layout = new Layout(new AdamParams { LearningRate = 0.01 }, [33]);
        Tensor values = layout.Random(1), expected = values.clone(), copy = full([layout.Elements], 5f, dtype: bfloat16);
        using var adam = new CpuAdam("Adam", layout.Groups, layout.Elements);
        using var undisturbed = new CpuAdam("Adam", layout.Groups, layout.Elements);

        adam.Step(values, full([layout.Elements], float.PositiveInfinity), new StepScale(null, ones([])), copy);
        adam.UndoStep();

        Assert.Equal(expected.data<float>().ToArray(), values.data<float>().ToArray());
        Assert.Equal(5f, copy.to(float32).max().ToSingle());
        adam.Step(values, layout.Random(2), new StepScale(null, zeros([])), copy);
        undisturbed.Step(expected, layout.Random(2), default, null);
        Assert.Equal(expected.data<float>().ToArray(), values.data<float>().ToArray());
        Assert.Equal(1, adam.Steps);
    }

    [Fact]
    public void RestoreSteps_BiasCorrection_GoesOnFromThere()
    {
        using var scope = NewDisposeScope();
        var layout = new Layout(new AdamParams { LearningRate = 0.01 }, [9]);
        Tensor values = layout.Random(1), plainValues = values.clone();
        using var adam = new CpuAdam("Adam", layout.Groups, layout.Elements);
        using var plain = new Adam("Adam", layout.Groups, layout.Elements, CPU, fused: false);
        adam.RestoreSteps(1000);
        plain.RestoreSteps(1000);

        adam.Step(values, layout.Random(2), default, null);
        plain.Step(plainValues, layout.Random(2), default, null);

        Vectors.Close(plainValues.data<float>().ToArray(), values.data<float>().ToArray(), relative: 1e-6, absolute: 1e-6);
    }

    [Fact]
    public void Step_ManyTimes_AllocatesNothingPerStep()
    {
        using var scope = NewDisposeScope();
        var layout = new Layout(new AdamParams(), [200_000]);
        Tensor values = layout.Random(1), gradients = layout.Random(2);
        using var adam = new CpuAdam("Adam", layout.Groups, layout.Elements, threads: 2);
        void Steps(int count)
        {
            for (int i = 0; i < count; i++)
            {
                adam.Step(values, gradients, default, null);
            }
        }

        Steps(50);
        long before = GC.GetAllocatedBytesForCurrentThread();
        Steps(100);
        long perStep = (GC.GetAllocatedBytesForCurrentThread() - before) / 100;

        Assert.True(perStep < 1024, $"{perStep} bytes per step");
    }

    [Fact]
    public void Step_BuffersOfAnotherLength_Throws()
    {
        using var scope = NewDisposeScope();
        var layout = new Layout(new AdamParams(), [40]);
        using var adam = new CpuAdam("Adam", layout.Groups, layout.Elements);

        var error = Assert.Throws<ArgumentException>(() => adam.Step(zeros(layout.Elements), zeros(8), default, null));

        Assert.Contains("the gradients have 8 elements", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Run_BodyThatThrows_ThrowsOnTheCallerAndCanRunAgain()
    {
        int done = 0;
        bool fail = true;
        var loop = new BlockLoop(block =>
        {
            if (fail && block == 3)
            {
                throw new InvalidOperationException("block 3");
            }

            Interlocked.Increment(ref done);
        }, threads: 4);

        Assert.Throws<InvalidOperationException>(() => loop.Run(1000));
        (fail, done) = (false, 0);
        loop.Run(1000);

        Assert.Equal(1000, done);
    }
}


namespace DeepSpeedSharp.Engine.Tests.Precision;

/// <summary>16-bit training with fp32 masters against fp32 training.</summary>
public sealed class MixedPrecisionTests
{
    private const string Micro = "\"train_micro_batch_size_per_gpu\": 1, \"gradient_accumulation_steps\": 2, \"gradient_clipping\": 0.5";

    public static TheoryData<string, double> Modes() => new()
    {
        { """{"bf16": {"enabled": true}, MICRO}""", 2e-2 },
        { """{"bf16": {"enabled": true}, "data_types": {"grad_accum_dtype": "fp32"}, MICRO}""", 2e-2 },
        { """{"bf16": {"enabled": true}, "communication_data_type": "fp32", MICRO}""", 2e-2 },
        { """{"bf16": {"enabled": true, "immediate_grad_update": true}, MICRO}""", 2e-2 },
        { """{"fp16": {"enabled": true, "initial_scale_power": 8}, MICRO}""", 4e-3 },
        { """{"fp16": {"enabled": true, "loss_scale": 128}, "data_types": {"grad_accum_dtype": "fp32"}, MICRO}""", 4e-3 },
    };

    [Theory]
    [MemberData(nameof(Modes))]
    public void Train_SixteenBits_FollowsFp32(string settings, double tolerance)
    {
        List<StepMetrics> expected = Losses("{MICRO}");

        List<StepMetrics> actual = Losses(settings);

        for (int i = 0; i < expected.Count; i++)
        {
            Assert.Equal(expected[i].Loss, actual[i].Loss, tolerance * expected[0].Loss);
            Assert.Equal(expected[i].GradientNorm!.Value, actual[i].GradientNorm!.Value, 3 * tolerance);
            Assert.False(actual[i].Overflow);
        }

        // Two steps see all samples.
        Assert.True(actual[^1].Loss + actual[^2].Loss < 0.95 * (actual[0].Loss + actual[1].Loss));
    }

    [Fact]
    public void Train_Bf16_CollectsUpdatesTooSmallForItsWeightsInTheMasters() => Ranks.Run(1, group =>
    {
        using Run run = Run.Start(group, """{"bf16": {"enabled": true}, "train_micro_batch_size_per_gpu": 1, "optimizer": {"type": "AdamW", "params": {"lr": 1e-5}}}""");
        float[] start = run.Masters();

        run.Steps(20);

        // Adam moves each value by up to the learning rate a step: far less than half a unit of bf16's last place.
        Assert.All(start.Zip(run.Masters()), pair => Assert.InRange(Math.Abs(pair.First - pair.Second), 1e-9, 3e-4));
    });

    // What is skipped changes nothing but counters and scale.
    [Fact]
    public void Step_Fp16Overflow_LeavesParametersAndOptimizerUntouched() => Ranks.Run(2, group =>
    {
        using Run run = Run.Start(group, """{"fp16": {"enabled": true, "initial_scale_power": 8, "hysteresis": 1}, "train_micro_batch_size_per_gpu": 1}""");
        run.Steps(2);
        float[] before = run.Masters();
        long applied = run.Engine.Optimizer.Steps;

        using (Tensor loss = run.Loss())
        using (Tensor broken = loss * (group.Rank == 1 ? float.PositiveInfinity : 1))
        {
            run.Engine.Backward(broken);
        }

        StepMetrics skipped = run.Engine.Step()!.Metrics;

        Assert.True(skipped.Overflow);
        Assert.Null(skipped.GradientNorm);
        Assert.False(run.Engine.WasStepApplied);
        Assert.Equal((1, 3, applied), (run.Engine.SkippedSteps, run.Engine.GlobalSteps, run.Engine.Optimizer.Steps));
        Assert.Equal(128, run.Engine.LossScale);
        Assert.Equal(before, run.Masters());
        run.Steps(1);
        Assert.NotEqual(before, run.Masters());
    });

    // All that a checkpoint keeps in mixed precision, loss scale included: the resumed run has the same bits.
    [Theory]
    [InlineData("""{"bf16": {"enabled": true}, "train_micro_batch_size_per_gpu": 1}""")]
    [InlineData("""{"fp16": {"enabled": true, "initial_scale_power": 6, "loss_scale_window": 3}, "train_micro_batch_size_per_gpu": 1, "optimizer": {"type": "SGD", "params": {"lr": 0.05, "momentum": 0.9}}}""")]
    [InlineData("""{"bf16": {"enabled": true}, "train_micro_batch_size_per_gpu": 1, "optimizer": {"type": "Lion", "params": {"lr": 0.01}}}""")]
    public void LoadCheckpoint_MixedPrecision_GoesOnToTheLastDigit(string settings)
    {
        string folder = Directory.CreateTempSubdirectory("dss-").FullName;
        double[] expected = Ranks.Run(1, group =>
        {
            using Run run = Run.Start(group, settings);
            run.Steps(8);
            run.Engine.SaveCheckpoint(folder);
            return run.Steps(8).Select(m => m.Loss).ToArray();
        })[0];

        double[] actual = Ranks.Run(1, group =>
        {
            using Run run = Run.Start(group, settings);
            run.Engine.LoadCheckpoint(folder);
            run.Skip(8);
            return run.Steps(8).Select(m => m.Loss).ToArray();
        })[0];

        Directory.Delete(folder, recursive: true);
        Assert.Equal(expected, actual);
    }

    private static List<StepMetrics> Losses(string settings) => Ranks.Run(2, group =>
    {
        using Run run = Run.Start(group, settings.Replace("MICRO", Micro, StringComparison.Ordinal));
        return run.Steps(20);
    })[0];
}

using DeepSpeedSharp.Engine.Precision;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine.Tests;

/// <summary>An engine goes on, or ends, in order after something went wrong; and resumes what the caller brought.</summary>
public sealed class EngineRecoveryTests
{
    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(2)]
    public void ZeroGrad_AfterABackwardThatFailedOnOneRank_LeavesTheRanksInStep(int stage)
    {
        string config = $$"""{"train_micro_batch_size_per_gpu": 1, "zero_optimization": {"stage": {{stage}} } }""";
        float[][] parameters = Ranks.Run(2, group =>
        {
            using Run run = Run.Start(group, config);
            using (Tensor loss = run.Loss())
            {
                if (group.Rank == 0)
                {
                    loss.backward(); // uses the graph up
                    Assert.ThrowsAny<Exception>(() => run.Engine.Backward(loss));
                }
                else
                {
                    run.Engine.Backward(loss);
                }
            }

            run.Engine.ZeroGrad();
            run.Steps(2);
            return run.Model.Flat();
        });

        float[] expected = Ranks.Run(2, group =>
        {
            using Run run = Run.Start(group, config);
            run.Skip(1);
            run.Steps(2);
            return run.Model.Flat();
        })[0];
        Assert.Equal(expected, parameters[0]);
        Assert.Equal(expected, parameters[1]);
    }

    [Fact]
    public void Step_OverflowAtTheSmallestScale_EndsWithTheStepCounted() => Ranks.Run(1, group =>
    {
        using Run run = Run.Start(group, """
            {"fp16": {"enabled": true, "initial_scale_power": 0, "hysteresis": 1}, "train_micro_batch_size_per_gpu": 1}
            """);
        run.Steps(1);
        using (Tensor loss = run.Loss())
        using (Tensor broken = loss * float.PositiveInfinity)
        {
            run.Engine.Backward(broken);
        }

        StepResult step = run.Engine.Step()!;

        Assert.Throws<LossScaleException>(() => step.Metrics);
        Assert.True(step.Metrics.Overflow);
        Assert.Equal((2, 1, 1), (run.Engine.GlobalSteps, run.Engine.SkippedSteps, run.Engine.Optimizer.Steps));
    });

    [Fact]
    public void LoadCheckpoint_SchedulerOfTheCaller_GoesOnAtTheSameRate()
    {
        string folder = Directory.CreateTempSubdirectory("dss-").FullName;
        double[] saved = Rates(3, engine => { }, engine => engine.SaveCheckpoint(folder));

        double[] resumed = Rates(3, engine => engine.LoadCheckpoint(folder), engine => { });

        Directory.Delete(folder, recursive: true);
        Assert.Equal([0.01, 0.01, 0.005], saved);
        Assert.Equal([0.005, 0.0025, 0.0025], resumed);

        static double[] Rates(int steps, Action<DeepSpeedEngine> before, Action<DeepSpeedEngine> after) => Ranks.Run(1, group =>
        {
            var model = new ToyModel();
            using optim.Optimizer own = optim.SGD(model.parameters(), 0.01);
            (DeepSpeedEngine engine, _, _, _) = DeepSpeed.Initialize(model, Run.Config("""{"train_micro_batch_size_per_gpu": 1}""", optimizer: false),
                group, CPU, optimizer: own, scheduler: optim.lr_scheduler.StepLR(own, 2, 0.5), printsProgress: false);
            using var run = new Run(engine, model);
            before(engine);
            var rates = new List<double>();
            for (int i = 0; i < steps; i++)
            {
                rates.Add(own.ParamGroups.First().LearningRate); // of the step that follows
                run.Steps(1);
            }

            after(engine);
            return rates.ToArray();
        })[0];
    }
}

using DeepSpeedSharp.Config;
using DeepSpeedSharp.Jobs;
using DeepSpeedSharp.Operator.Api.V1Alpha1;
using DeepSpeedSharp.Operator.Planning;

namespace DeepSpeedSharp.Operator.Tests.Planning;

public sealed class JobMemoryTests
{
    private const string Zero3 = """{"train_micro_batch_size_per_gpu":2,"bf16":{"enabled":true},"zero_optimization":{"stage":3}}""";

    [Fact]
    public void Status_ShowsTheEstimateOfConfigCheck()
    {
        DeepSpeedJobSpec spec = Spec(new ModelSpec { Parameters = "7B", SequenceLength = 4096, ActivationCheckpointing = true });

        DeepSpeedJobStatus status = Started(spec);

        // The call of `deepspeed config check --parameters 7B --sequence-length 4096 --gradient-checkpointing --world-size 16`.
        var expected = MemoryEstimate.For(ConfigReport.For(Zero3, 16).Config!, 7_000_000_000, 16, 2 * 4096, recompute: true);
        Assert.Equal((expected.DeviceBytes, expected.ModelStateBytes, expected.BufferBytes, (long?)expected.ActivationBytes),
            (status.Memory!.DeviceBytes, status.Memory.ModelStateBytes, status.Memory.BufferBytes, status.Memory.ActivationBytes));
        Assert.Equal(7_000_000_000, expected.ModelStateBytes); // 16 bytes a parameter, over 16 ranks
        Assert.StartsWith($"{MemoryEstimate.Text(expected.DeviceBytes)} on each GPU: 7.0 GB model states, ", status.Memory.Text);
        Assert.Equal((32, 2, 1), (status.Batch!.TrainBatchSize, status.Batch.MicroBatchSize, status.Batch.GradientAccumulationSteps));
    }

    [Fact]
    public void Activations_AreLeftOutWhenNobodySaysHowLongASampleIs()
    {
        MemoryStatus memory = Started(Spec(new ModelSpec { Parameters = "7B" })).Memory!;

        Assert.Null(memory.ActivationBytes);
        Assert.Equal(memory.ModelStateBytes + memory.BufferBytes, memory.DeviceBytes);
        Assert.EndsWith(", activations not counted", memory.Text);
    }

    [Fact]
    public void Estimate_IsLeftOutWhenTheModelIsNotKnown() => Assert.Null(Started(Spec(null)).Memory);

    [Fact]
    public void Model_IsNoPartOfWhatPodsAreMadeFrom() =>
        Assert.Equal(SpecHash.Of(Spec(null)), SpecHash.Of(Spec(new ModelSpec { Parameters = "7B" })));

    private static DeepSpeedJobStatus Started(DeepSpeedJobSpec spec)
    {
        JobSnapshot job = Some.NewJob(spec) with { Config = Zero3 };
        return JobDecision.For(job.After(JobDecision.For(job))).Status;
    }

    private static DeepSpeedJobSpec Spec(ModelSpec? model) => Some.Spec() with { GpusPerNode = 8, Model = model };
}

using DeepSpeedSharp.Engine.Optim;

namespace DeepSpeedSharp.Engine.Tests.Zero.Offload;

/// <summary>An offloaded optimizer trains as one on the device does.</summary>
public sealed class OffloadParityTests
{
    private const int Steps = 6;

    // The same kernels update the same gradients, wherever they lie and however they are cut.
    [Theory]
    [InlineData(1, 1, "")]
    [InlineData(1, 2, "")]
    [InlineData(2, 1, "")]
    [InlineData(3, 2, "")]
    [InlineData(4, 2, "")]
    [InlineData(2, 1, "\"bf16\": {\"enabled\": true},")]
    [InlineData(3, 2, "\"bf16\": {\"enabled\": true},")]
    [InlineData(2, 2, "\"bf16\": {\"enabled\": true}, \"data_types\": {\"grad_accum_dtype\": \"fp32\"},")]
    [InlineData(2, 2, "\"fp16\": {\"enabled\": true, \"initial_scale_power\": 8},")]
    [InlineData(2, 1, "\"gradient_accumulation_steps\": 3,")]
    [InlineData(2, 2, "\"gradient_accumulation_steps\": 3,")]
    [InlineData(1, 3, "")]
    [InlineData(3, 3, "\"bf16\": {\"enabled\": true},")]
    [InlineData(4, 3, "\"gradient_accumulation_steps\": 2,")]
    [InlineData(2, 3, "\"fp16\": {\"enabled\": true, \"initial_scale_power\": 8},")]
    [InlineData(2, 2, "\"optimizer\": {\"type\": \"Lion\", \"params\": {\"lr\": 0.001}},")]
    [InlineData(2, 2, "\"zero_force_ds_cpu_optimizer\": false, \"optimizer\": {\"type\": \"Adam\", \"params\": {\"lr\": 0.001, \"torch_adam\": true}},")]
    public void Train_ToTheCpu_EqualsWithoutToTheBit(int ranks, int stage, string rest) =>
        EqualToTheBit(ranks, stage, """ "offload_optimizer": {"device": "cpu"} """, rest);

    [Theory]
    [InlineData(1)]
    [InlineData(701)]
    [InlineData(2048)]
    public void Train_AnySubGroups_EqualsWithoutToTheBit(long size) =>
        EqualToTheBit(1, 2, $$""" "sub_group_size": {{size}}, "offload_optimizer": {"device": "cpu", "pin_memory": false} """, "\"bf16\": {\"enabled\": true},");

    [Theory]
    [InlineData(0, "")]
    [InlineData(0.3, "")]
    [InlineData(0.85, "\"bf16\": {\"enabled\": true},")]
    [InlineData(0.85, "\"gradient_accumulation_steps\": 3,")]
    [InlineData(1, "")]
    public void Train_AnyRatioInStageThree_EqualsWithoutToTheBit(double ratio, string rest)
    {
        // Whole sectors are the host's, so one rank, whose shard is long enough to be cut.
        string keys = FormattableString.Invariant($$""" "sub_group_size": 1, "offload_optimizer": {"device": "cpu", "ratio": {{ratio}}} """);
        EqualToTheBit(1, 3, keys, rest);
        EqualToTheBit(3, 3, keys, rest);
    }

    // Fused kernels of libtorch round the last elements of a range in another way than those in its middle.
    [Theory]
    [InlineData("\"optimizer\": {\"type\": \"Adagrad\", \"params\": {\"lr\": 0.01}},")]
    [InlineData("\"zero_force_ds_cpu_optimizer\": false, \"optimizer\": {\"type\": \"SGD\", \"params\": {\"lr\": 0.1, \"momentum\": 0.9}},")]
    // The norm is summed up in another precision, and clipping depends on it.
    [InlineData("\"gradient_clipping\": 0.05,")]
    [InlineData("\"gradient_clipping\": 0.05, \"gradient_accumulation_steps\": 2, \"bf16\": {\"enabled\": true},", 1e-2)]
    public void Train_OtherKernelsAndClipping_EqualsWithoutWithinRounding(string rest, double tolerance = 1e-5)
    {
        foreach (int stage in (int[])[1, 2, 3])
        {
            ZeroRun[] plain = Run(2, $$"""{"stage": {{stage}}}""", rest);
            ZeroRun[] offloaded = Run(2, $$"""{"stage": {{stage}}, "sub_group_size": 1000, "offload_optimizer": {"device": "cpu"} }""", rest);

            Vectors.Close(plain[0].Parameters, offloaded[0].Parameters, tolerance, tolerance / 10);
            foreach ((StepMetrics expected, StepMetrics found) in plain[0].Metrics.Zip(offloaded[0].Metrics))
            {
                Assert.Equal(expected.GradientNorm!.Value, found.GradientNorm!.Value, expected.GradientNorm.Value * tolerance);
            }
        }
    }

    [Theory]
    [InlineData("\"overlap_comm\": true, \"reduce_bucket_size\": 40")]
    [InlineData("\"overlap_comm\": true, \"contiguous_gradients\": false, \"reduce_bucket_size\": 1")]
    [InlineData("\"round_robin_gradients\": true, \"reduce_bucket_size\": 60")]
    [InlineData("\"reduce_scatter\": false, \"overlap_comm\": true, \"reduce_bucket_size\": 500")]
    public void Train_AnyBuckets_EqualsWithoutToTheBit(string keys)
    {
        foreach (int stage in (int[])[1, 2, 3])
        {
            ZeroRun[] plain = Run(3, $$"""{"stage": {{stage}}, {{keys}} }""");
            ZeroRun[] offloaded = Run(3, $$"""{"stage": {{stage}}, {{keys}}, "offload_optimizer": {"device": "cpu"} }""");

            Assert.Equal(plain[0].Parameters, offloaded[0].Parameters);
        }
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    public void Train_OverflowOnTheWay_IsSkippedByAllAndLowersTheScale(int stage)
    {
        const string Rest = "\"fp16\": {\"enabled\": true, \"initial_scale_power\": 24, \"hysteresis\": 1},";
        ZeroRun[] plain = Run(3, $$"""{"stage": {{stage}}}""", Rest);
        ZeroRun[] offloaded = Run(3, $$"""{"stage": {{stage}}, "offload_optimizer": {"device": "cpu"} }""", Rest);

        Assert.Contains(plain[0].Metrics, m => m.Overflow);
        Assert.All(offloaded, run => Assert.Equal(plain[0].Metrics.Select(m => (m.Overflow, m.LossScale)), run.Metrics.Select(m => (m.Overflow, m.LossScale))));
        Assert.All(offloaded, run => Assert.Equal(plain[0].Parameters, run.Parameters));
    }

    [Fact]
    public void Train_TheOldKey_OffloadsToo() => EqualToTheBit(2, 2, "\"cpu_offload\": true", "");

    [Fact]
    public void Train_GroupsWithTheirOwnNumbers_EqualsWithoutToTheBit()
    {
        ParameterGroupOptions[] groups =
        [
            new() { Name = "biases", Names = ["first.bias", "second.bias", "third.bias"], WeightDecay = 0, LearningRate = 0.05 },
            new() { Name = "weights", Names = ["first.weight", "second.weight", "third.weight"] },
        ];
        ZeroRun[] Train(string keys) => Ranks.Run(3, group => ZeroRun.Train(group, $$"""{"stage": 2{{keys}} }""", Steps, groups: groups));

        Assert.Equal(Train("")[0].Parameters, Train(", \"sub_group_size\": 1000, \"offload_optimizer\": {\"device\": \"cpu\"}")[0].Parameters);
    }

    internal static ZeroRun[] Run(int ranks, string zero, string rest = "") =>
        Ranks.Run(ranks, group => ZeroRun.Train(group, zero, Steps, rest));

    private static void EqualToTheBit(int ranks, int stage, string keys, string rest)
    {
        ZeroRun[] plain = Run(ranks, $$"""{"stage": {{stage}}}""", rest);
        ZeroRun[] offloaded = Run(ranks, $$"""{"stage": {{stage}}, {{keys}} }""", rest);

        Assert.All(offloaded, run => Assert.Equal(plain[0].Parameters, run.Parameters));
        Assert.Equal(plain[0].Metrics.Select(m => m.Loss), offloaded[0].Metrics.Select(m => m.Loss));
    }
}

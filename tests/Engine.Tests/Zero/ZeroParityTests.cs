using DeepSpeedSharp.Engine.Optim;

namespace DeepSpeedSharp.Engine.Tests.Zero;

/// <summary>Every stage trains as stage 0 does.</summary>
public sealed class ZeroParityTests
{
    private const int Steps = 6;

    // A sum of two is the same in either order, so with one or two ranks each stage makes the very additions of stage 0.
    [Theory]
    [InlineData(1, 1, "")]
    [InlineData(1, 2, "")]
    [InlineData(1, 3, "")]
    [InlineData(2, 1, "")]
    [InlineData(2, 2, "")]
    [InlineData(2, 3, "")]
    [InlineData(2, 1, "\"bf16\": {\"enabled\": true},")]
    [InlineData(2, 2, "\"bf16\": {\"enabled\": true},")]
    [InlineData(2, 3, "\"bf16\": {\"enabled\": true},")]
    [InlineData(2, 2, "\"fp16\": {\"enabled\": true, \"initial_scale_power\": 8},")]
    [InlineData(2, 3, "\"fp16\": {\"enabled\": true, \"initial_scale_power\": 8},")]
    [InlineData(2, 2, "\"bf16\": {\"enabled\": true}, \"data_types\": {\"grad_accum_dtype\": \"fp32\"}, \"communication_data_type\": \"fp32\",")]
    [InlineData(2, 3, "\"bf16\": {\"enabled\": true}, \"data_types\": {\"grad_accum_dtype\": \"fp32\"}, \"communication_data_type\": \"fp32\",")]
    [InlineData(2, 1, "\"gradient_accumulation_steps\": 3,")]
    [InlineData(2, 2, "\"optimizer\": {\"type\": \"SGD\", \"params\": {\"lr\": 0.1, \"momentum\": 0.9}},")]
    [InlineData(2, 3, "\"optimizer\": {\"type\": \"SGD\", \"params\": {\"lr\": 0.1, \"momentum\": 0.9}},")]
    [InlineData(2, 2, "\"optimizer\": {\"type\": \"Lion\", \"params\": {\"lr\": 0.001}},")]
    [InlineData(2, 3, "\"optimizer\": {\"type\": \"Lion\", \"params\": {\"lr\": 0.001}},")]
    [InlineData(2, 1, "\"optimizer\": {\"type\": \"Adagrad\", \"params\": {\"lr\": 0.01}},")]
    public void Train_OneOrTwoRanks_EqualsStageZeroToTheBit(int ranks, int stage, string rest)
    {
        ZeroRun[] sharded = Run(ranks, $$"""{"stage": {{stage}}, "stage3_param_persistence_threshold": 0, "reduce_bucket_size": 700, "allgather_bucket_size": 100}""", rest);
        ZeroRun[] plain = Run(ranks, """{"stage": 0, "stage3_param_persistence_threshold": 0, "reduce_bucket_size": 700}""", rest);

        Assert.All(sharded, run => Assert.Equal(plain[0].Parameters, run.Parameters));
        Assert.Equal(plain[0].Metrics.Select(m => m.Loss), sharded[0].Metrics.Select(m => m.Loss));
        foreach ((StepMetrics expected, StepMetrics found) in plain[0].Metrics.Zip(sharded[0].Metrics))
        {
            // The norm is put together from the shards' norms.
            Assert.Equal(expected.GradientNorm!.Value, found.GradientNorm!.Value, expected.GradientNorm.Value * 1e-6);
        }
    }

    // reduce_scatter: false makes stage 0's all-reduce, the plain way, for any number of ranks. Not in stage 3, whose buckets
    // have the parts of a rank next to each other, so that the ring adds an element up in another order.
    [Theory]
    [InlineData(3, 1)]
    [InlineData(4, 1)]
    [InlineData(3, 2)]
    [InlineData(4, 2)]
    public void Train_ByAllReduce_EqualsStageZeroToTheBit(int ranks, int stage)
    {
        ZeroRun[] sharded = Run(ranks, $$"""{"stage": {{stage}}, "reduce_scatter": false, "stage3_param_persistence_threshold": 0, "reduce_bucket_size": 700}""");
        ZeroRun[] plain = Run(ranks, """{"stage": 0, "stage3_param_persistence_threshold": 0, "reduce_bucket_size": 700}""");

        Assert.All(sharded, run => Assert.Equal(plain[0].Parameters, run.Parameters));
    }

    // From three ranks on the order of additions depends on the owner of an element, and clipping on the rounding of the
    // norm; in stage 2 with accumulation, ranks are summed before micro batches.
    [Theory]
    [InlineData(3, 1, "")]
    [InlineData(4, 1, "")]
    [InlineData(3, 2, "")]
    [InlineData(3, 3, "")]
    [InlineData(4, 2, "")]
    [InlineData(4, 3, "")]
    [InlineData(2, 1, "\"gradient_clipping\": 0.05,")]
    [InlineData(2, 2, "\"gradient_clipping\": 0.05,")]
    [InlineData(2, 3, "\"gradient_clipping\": 0.05,")]
    [InlineData(4, 2, "\"gradient_clipping\": 0.05, \"gradient_accumulation_steps\": 3,")]
    [InlineData(4, 3, "\"gradient_clipping\": 0.05, \"gradient_accumulation_steps\": 3,")]
    [InlineData(2, 2, "\"gradient_accumulation_steps\": 3,")]
    [InlineData(2, 3, "\"gradient_accumulation_steps\": 3,")]
    [InlineData(3, 1, "\"gradient_predivide_factor\": 2,")]
    public void Train_AnyRanks_EqualsStageZeroWithinRounding(int ranks, int stage, string rest)
    {
        ZeroRun[] sharded = Run(ranks, $$"""{"stage": {{stage}}, "stage3_param_persistence_threshold": 0, "reduce_bucket_size": 700}""", rest);
        ZeroRun[] plain = Run(ranks, """{"stage": 0, "stage3_param_persistence_threshold": 0, "reduce_bucket_size": 700}""", rest);

        Assert.All(sharded, run => Assert.Equal(sharded[0].Parameters, run.Parameters));
        Vectors.Close(plain[0].Parameters, sharded[0].Parameters, 1e-5, 1e-6);
    }

    // The additions of a reduce-scatter depend on owners only, not on when or in which buckets they are made.
    [Theory]
    [InlineData("\"overlap_comm\": true")]
    [InlineData("\"overlap_comm\": true, \"contiguous_gradients\": false")]
    [InlineData("\"contiguous_gradients\": false, \"reduce_bucket_size\": 1")]
    [InlineData("\"overlap_comm\": true, \"reduce_bucket_size\": 1, \"allgather_bucket_size\": 2")]
    [InlineData("\"reduce_bucket_size\": 40")]
    [InlineData("\"use_multi_rank_bucket_allreduce\": false, \"allgather_partitions\": false, \"elastic_checkpoint\": true")]
    public void Train_AnyBucketsAndOverlap_EqualsPlainToTheBit(string keys)
    {
        ZeroRun[] plain = Run(3, """{"stage": 2}""");

        foreach (int stage in (int[])[1, 2])
        {
            Assert.Equal(plain[0].Parameters, Run(3, $$"""{"stage": {{stage}}, {{keys}} }""")[0].Parameters);
        }
    }

    // Another order in the flat buffer is another owner for most elements.
    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    public void Train_RoundRobinGradients_EqualsStageZeroWithinRounding(int stage)
    {
        ZeroRun[] sharded = Run(3, $$"""{"stage": {{stage}}, "round_robin_gradients": true, "reduce_bucket_size": 60, "overlap_comm": true}""");

        Vectors.Close(Run(3, """{"stage": 0}""")[0].Parameters, sharded[0].Parameters, 1e-5, 1e-6);
    }

    // The smaller group lies in one rank's shard: the others update nothing of it.
    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    public void Train_GroupsWithTheirOwnNumbers_EqualsStageZeroWithinRounding(int stage)
    {
        ParameterGroupOptions[] groups =
        [
            new() { Name = "biases", Names = ["first.bias", "second.bias", "third.bias"], WeightDecay = 0, LearningRate = 0.05 },
            new() { Name = "weights", Names = ["first.weight", "second.weight", "third.weight"] },
        ];
        ZeroRun[] Train(int s) => Ranks.Run(4, group => ZeroRun.Train(group, $$"""{"stage": {{s}}, "stage3_param_persistence_threshold": 0}""", Steps, groups: groups));

        Vectors.Close(Train(0)[0].Parameters, Train(stage)[0].Parameters, 1e-5, 1e-6);
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    public void Train_OverflowOnOneRank_IsSkippedByAllAndLowersTheScale(int stage)
    {
        const string Rest = "\"fp16\": {\"enabled\": true, \"initial_scale_power\": 24, \"hysteresis\": 1},";
        ZeroRun[] sharded = Run(3, $$"""{"stage": {{stage}}, "stage3_param_persistence_threshold": 0}""", Rest);
        ZeroRun[] plain = Run(3, """{"stage": 0}""", Rest);

        Assert.Contains(plain[0].Metrics, m => m.Overflow);
        Assert.All(sharded, run => Assert.Equal(plain[0].Metrics.Select(m => (m.Overflow, m.LossScale)), run.Metrics.Select(m => (m.Overflow, m.LossScale))));
        Assert.All(sharded, run => Assert.Equal(sharded[0].Parameters, run.Parameters));
    }

    private static ZeroRun[] Run(int ranks, string zero, string rest = "") =>
        Ranks.Run(ranks, group => ZeroRun.Train(group, zero, Steps, rest));
}

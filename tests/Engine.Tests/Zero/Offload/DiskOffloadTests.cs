using DeepSpeedSharp.Config;
using DeepSpeedSharp.Engine.Native.Disk;
using DeepSpeedSharp.Engine.Zero;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine.Tests.Zero.Offload;

/// <summary>Optimizer state on a disk.</summary>
public sealed class DiskOffloadTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("disk-offload-tests-").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Theory]
    [InlineData(1, 2, "", "")]
    [InlineData(2, 1, "\"pipeline_read\": true", "")]
    [InlineData(2, 2, "\"pipeline_write\": true", "\"bf16\": {\"enabled\": true},")]
    [InlineData(3, 2, "\"pipeline_read\": true, \"pipeline_write\": true", "")]
    [InlineData(1, 1, "\"pipeline_read\": true, \"pipeline_write\": true, \"buffer_count\": 16, \"fast_init\": true", "\"fp16\": {\"enabled\": true, \"initial_scale_power\": 8},")]
    [InlineData(1, 2, "\"pipeline_read\": true", "\"aio\": {\"block_size\": 4096, \"queue_depth\": 2, \"intra_op_parallelism\": 2, \"single_submit\": true, \"overlap_events\": false},")]
    [InlineData(2, 3, "\"pipeline_read\": true, \"pipeline_write\": true", "\"bf16\": {\"enabled\": true},")]
    [InlineData(1, 3, "\"ratio\": 0.8", "")]
    [InlineData(1, 2, "\"buffer_count\": 3", "\"optimizer\": {\"type\": \"Lion\", \"params\": {\"lr\": 0.001}},")]
    public void Train_ToADisk_EqualsWithoutToTheBit_AndLeavesNothing(int ranks, int stage, string keys, string rest)
    {
        ZeroRun[] plain = OffloadParityTests.Run(ranks, $$"""{"stage": {{stage}}}""", rest);
        ZeroRun[] offloaded = OffloadParityTests.Run(ranks, Disk(stage, keys), rest);

        Assert.All(offloaded, run => Assert.Equal(plain[0].Parameters, run.Parameters));
        Assert.Empty(Directory.GetFileSystemEntries(_folder));
    }

    // What another setting has saved, and back.
    [Theory]
    [InlineData("nvme", "none")]
    [InlineData("none", "nvme")]
    [InlineData("cpu", "nvme")]
    [InlineData("nvme", "cpu")]
    [InlineData("cpu", "none")]
    public void Load_SavedWithAnotherOffload_GoesOnAsIfNeverInterrupted(string saved, string loaded)
    {
        string checkpoints = Path.Combine(_folder, "checkpoints");
        const string Rest = "\"bf16\": {\"enabled\": true}, \"train_batch_size\": 12,";
        ZeroRun uninterrupted = Ranks.Run(1, group => ZeroRun.Train(group, """{"stage": 2}""", 7, Rest))[0];
        Ranks.Run(2, group => ZeroRun.Train(group, Of(saved, 2), 3, Rest, save: checkpoints));

        ZeroRun[] resumed = Ranks.Run(3, group => ZeroRun.Train(group, Of(loaded, 1), 4, Rest, load: checkpoints));

        Vectors.Close(uninterrupted.Parameters, resumed[0].Parameters, 2e-2, 2e-3); // bf16 sums of other ranks
        Vectors.Close([.. uninterrupted.Metrics.Skip(3).Select(m => (float)m.Loss)], [.. resumed[0].Metrics.Select(m => (float)m.Loss)], 1e-2, 1e-3);
    }

    // Saved and loaded by the same ranks nothing may change at all.
    [Theory]
    [InlineData("cpu")]
    [InlineData("nvme")]
    public void Load_SavedBySameRanks_RepeatsToTheBit(string device)
    {
        string checkpoints = Path.Combine(_folder, "checkpoints");
        ZeroRun[] uninterrupted = Ranks.Run(2, group => ZeroRun.Train(group, """{"stage": 2}""", 7));
        Ranks.Run(2, group => ZeroRun.Train(group, Of(device, 2), 3, save: checkpoints));

        ZeroRun[] resumed = Ranks.Run(2, group => ZeroRun.Train(group, Of(device, 2), 4, load: checkpoints));

        Assert.Equal(uninterrupted[0].Parameters, resumed[0].Parameters);
    }

    [Theory]
    [InlineData(0, 5000)]
    [InlineData(1, 1)]
    [InlineData(1023, 2)]
    [InlineData(1024, 1024)]
    [InlineData(3, 4099)]
    public void DiskShard_AnyRange_ReadsBackWhatWasWrittenAndTouchesNothingElse(long start, long length)
    {
        using var folder = new SwapFolder(_folder, 0);
        using var queue = new ThreadedQueue(DiskOptions.Of(4096, 2, 1, false, true));
        using var shard = new DiskShard(folder.Path, "state", 5003, queue);
        using Tensor before = arange(5003, dtype: float32);
        shard.Write(0, before);
        using Tensor values = rand(length).to(bfloat16);

        shard.Write(start, values);

        using Tensor expected = before.clone();
        using Tensor part = expected.narrow(0, start, Math.Min(length, 5003 - start));
        part.copy_(values);
        using Tensor found = shard.Read(new ElementRange(0, 5003));
        Assert.Equal(expected.data<float>().ToArray(), found.data<float>().ToArray());
        using Tensor middle = shard.Read(new ElementRange(start, length));
        Assert.Equal(part.data<float>().ToArray(), middle.data<float>().ToArray());
    }

    // More pieces than sets of buffers, over several steps: no piece may be read before it is written.
    [Theory]
    [InlineData(false, false, 4, false)]
    [InlineData(true, false, 4, true)]
    [InlineData(false, true, 4, false)]
    [InlineData(true, true, 4, false)]
    [InlineData(true, true, 40, true)]
    public void DiskStates_ManyPiecesAndSteps_EqualsStatesInMemory(bool reads, bool writes, int buffers, bool fastInit)
    {
        const long Elements = 11 * 1024 + 5;
        OffloadCut cut = OffloadCut.Of(Elements, 1, 1);
        using var disk = new DiskStates(Elements, new DiskStateOptions(_folder, buffers, reads, writes, fastInit, false, DiskOptions.Of(4096, 2, 2, false, true)), 0);
        using var memory = new ResidentStates(Elements, false);
        IShardBuffer[] onDisk = [disk.Add("a"), disk.Add("b")], inMemory = [memory.Add("a"), memory.Add("b")];
        disk.Prepare(cut.Pieces);
        memory.Prepare(cut.Pieces);
        using var scope = NewDisposeScope();
        for (int step = 0; step < 4; step++)
        {
            for (int i = 0; i < cut.Pieces.Count; i++)
            {
                Change(disk.Take(i), step + i);
                disk.Give(i, null);
                Change(memory.Take(i), step + i);
            }

            disk.Finish();
        }

        foreach ((IShardBuffer expected, IShardBuffer found) in inMemory.Zip(onDisk))
        {
            Assert.Equal(expected.Read(new ElementRange(0, Elements)).data<float>().ToArray(), found.Read(new ElementRange(0, Elements)).data<float>().ToArray());
        }

        static void Change(IReadOnlyList<Tensor> states, int by)
        {
            states[0].add_(by);
            states[1].add_(states[0]).mul_(0.5f);
        }
    }

    [Fact]
    public void Initialize_NotEnoughBuffers_IsRefusedWithTheNumber()
    {
        var config = DeepSpeedConfig.Parse($$"""
            {"train_batch_size": 1, "optimizer": {"type": "Adam", "params": {"lr": 0.1} }, "zero_optimization": {{Disk(2, "\"buffer_count\": 3")}} }
            """);

        ConfigError problem = Assert.Single(EngineLimits.Problems(config));

        Assert.Equal("zero_optimization.offload_optimizer.buffer_count", problem.Path);
        Assert.Contains("4 or more", problem.Fix, StringComparison.Ordinal);
    }

    private string Of(string device, int stage) => device switch
    {
        "nvme" => Disk(stage, ""),
        "cpu" => $$"""{"stage": {{stage}}, "sub_group_size": 1024, "offload_optimizer": {"device": "cpu"} }""",
        _ => $$"""{"stage": {{stage}}}""",
    };

    private string Disk(int stage, string keys) => $$"""
        {"stage": {{stage}}, "sub_group_size": 300, "offload_optimizer": {"device": "nvme", "nvme_path": "{{_folder}}" {{(keys.Length > 0 ? ", " + keys : "")}} } }
        """;
}

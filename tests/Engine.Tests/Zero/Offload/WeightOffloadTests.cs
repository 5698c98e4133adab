using DeepSpeedSharp.Engine.Comm;
using DeepSpeedSharp.Engine.Native.Disk;
using DeepSpeedSharp.Engine.Zero;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine.Tests.Zero.Offload;

/// <summary>Weights of stage 3 outside the device.</summary>
public sealed class WeightOffloadTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("weight-offload-tests-").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Theory]
    [InlineData(1, "cpu", "", "")]
    [InlineData(3, "cpu", "\"pin_memory\": false", "\"bf16\": {\"enabled\": true},")]
    [InlineData(2, "cpu", "", "\"fp16\": {\"enabled\": true, \"initial_scale_power\": 8}, \"gradient_accumulation_steps\": 2,")]
    [InlineData(1, "nvme", "\"max_in_cpu\": 0, \"buffer_count\": 1, \"buffer_size\": 10", "")]
    [InlineData(2, "nvme", "\"max_in_cpu\": 0, \"buffer_size\": 1200", "\"bf16\": {\"enabled\": true},")]
    [InlineData(1, "nvme", "\"max_in_cpu\": 1100, \"buffer_count\": 2", "\"bf16\": {\"enabled\": true},")]
    [InlineData(1, "nvme", "", "")]
    public void Train_WeightsElsewhere_EqualsWithoutToTheBit_AndLeavesNothing(int ranks, string device, string keys, string rest)
    {
        const string Gathering = "\"param_persistence_threshold\": 0, \"sub_group_size\": 1000";
        string place = $$"""{"device": "{{device}}", "nvme_path": "{{_folder}}" {{(keys.Length > 0 ? ", " + keys : "")}} }""";
        ZeroRun[] plain = OffloadParityTests.Run(ranks, """{"stage": 3, "param_persistence_threshold": 0}""", rest);
        string[] optimizers = ["", """, "offload_optimizer": {"device": "cpu"} """, """, "offload_optimizer": {"device": "cpu", "ratio": 0.75} """,
            $$""", "offload_optimizer": {"device": "nvme", "nvme_path": "{{_folder}}"} """];

        foreach (string optimizer in optimizers)
        {
            ZeroRun[] offloaded = OffloadParityTests.Run(ranks, $$"""{"stage": 3, {{Gathering}}, "offload_param": {{place}} {{optimizer}} }""", rest);

            Assert.All(offloaded, run => Assert.Equal(plain[0].Parameters, run.Parameters));
        }

        Assert.Empty(Directory.GetFileSystemEntries(_folder));
    }

    [Theory]
    [InlineData(0, 1, 700)]
    [InlineData(3000, 3, 5000)]
    [InlineData(100_000, 5, 100_000)]
    public void DiskWeightShards_ReadsInAnyOrder_GiveWhatWasWritten(long inMemory, int buffers, long bufferElements)
    {
        const long Elements = 9000;
        using var scope = NewDisposeScope();
        using var shards = new DiskWeightShards(Elements, ScalarType.BFloat16, CPU, inMemory, bufferElements,
            new DiskStateOptions(_folder, buffers, true, false, true, false, DiskOptions.Of(4096, 4, 1, false, true)), 0);
        Tensor values = rand(Elements).to(bfloat16);
        shards.Write(new ElementRange(0, Elements), values);
        shards.Write(new ElementRange(2500, 1000), values.narrow(0, 2500, 1000).neg_());
        (long Start, long Length)[] parts = [(5000, 4000), (0, 9000), (2999, 3), (17, 1), (4096, 2048), (8999, 1), (100, 3000)];

        // All are started before the first is waited for, as reading ahead does.
        (Tensor Destination, Work Read)[] reads = [.. parts.Select(part =>
        {
            Tensor destination = zeros(part.Length, bfloat16);
            return (destination, shards.Read(new ElementRange(part.Start, part.Length), destination));
        })];

        foreach (((long start, long length), (Tensor destination, Work read)) in parts.Zip(reads))
        {
            read.Wait();
            Assert.Equal(values.narrow(0, start, length).to(float32).data<float>().ToArray(), destination.to(float32).data<float>().ToArray());
        }
    }
}

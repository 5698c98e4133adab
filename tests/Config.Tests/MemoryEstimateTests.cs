using System.Text.Json;

namespace DeepSpeedSharp.Config.Tests;

/// <summary><c>vectors/memory_estimates.json</c>, and how a config changes the estimate.</summary>
public sealed class MemoryEstimateTests
{
    private const long Parameters = 1_000_000;

    private static readonly JsonElement Vectors =
        JsonDocument.Parse(File.ReadAllText(Path.Combine(AppContext.BaseDirectory, "vectors", "memory_estimates.json"))).RootElement;

    [Fact]
    public void OriginalStage2_EveryCase_IsTheReferences()
    {
        foreach (JsonElement c in Vectors.GetProperty("stage2").EnumerateArray())
        {
            Assert.Equal((c.GetProperty("gpu_bytes").GetInt64(), c.GetProperty("cpu_bytes_per_node").GetInt64()), ZeroMemory.OriginalStage2(
                c.GetProperty("total_params").GetInt64(), c.GetProperty("gpus_per_node").GetInt32(), c.GetProperty("nodes").GetInt32(),
                c.GetProperty("cpu_offload").GetBoolean(), c.GetProperty("buffer_factor").GetDouble()));
        }
    }

    [Fact]
    public void OriginalStage3_EveryCase_IsTheReferences()
    {
        foreach (JsonElement c in Vectors.GetProperty("stage3").EnumerateArray())
        {
            Assert.Equal((c.GetProperty("gpu_bytes").GetInt64(), c.GetProperty("cpu_bytes_per_node").GetInt64()), ZeroMemory.OriginalStage3(
                c.GetProperty("total_params").GetInt64(), c.GetProperty("largest_layer_params").GetInt64(),
                c.GetProperty("gpus_per_node").GetInt32(), c.GetProperty("nodes").GetInt32(), c.GetProperty("offload_optimizer").GetBoolean(),
                c.GetProperty("offload_param").GetBoolean(), c.GetProperty("zero_init").GetBoolean(), c.GetProperty("buffer_factor").GetDouble()));
        }
    }

    [Fact]
    public void For_Bf16AndAdam_IsTheTheory()
    {
        foreach (JsonElement c in Vectors.GetProperty("bytes_per_param_theory").EnumerateArray())
        {
            int ranks = c.GetProperty("dp").GetInt32();
            string[] names = ["ddp_bytes_per_param", "stage1", "stage2", "stage3"];
            for (int stage = 0; stage <= 3; stage++)
            {
                double expected = c.GetProperty(names[stage]).GetDouble();
                Assert.Equal(expected, ZeroMemory.BytesPerParameter(stage, ranks), 1e-12);
                Assert.Equal(expected, (double)For($$"""{"stage": {{stage}} }""", ranks, parameters: 1024 * Parameters).ModelStateBytes / (1024 * Parameters), 1e-6);
            }
        }
    }

    [Fact]
    public void For_ThePapersExample_IsTheTable()
    {
        JsonElement c = Vectors.GetProperty("paper_example")[0];
        string[] names = ["ddp_gb", "stage1_gb", "stage2_gb", "stage3_gb"];
        for (int stage = 0; stage <= 3; stage++)
        {
            Assert.Equal(c.GetProperty(names[stage]).GetDouble(),
                For($$"""{"stage": {{stage}} }""", 64, parameters: 7_500_000_000).ModelStateBytes / 1e9, 0.051);
        }
    }

    [Theory]
    [InlineData("", 16)] // fp32: no masters
    [InlineData("\"optimizer\": {\"type\": \"SGD\", \"params\": {\"lr\": 1}},", 8)]
    [InlineData("\"optimizer\": {\"type\": \"Lion\"},", 12)]
    [InlineData("\"bf16\": {\"enabled\": true}, \"data_types\": {\"grad_accum_dtype\": \"fp32\"},", 18)]
    public void For_OtherTypesAndOptimizers_CountsTheirBytes(string rest, int bytes) =>
        Assert.Equal(bytes * Parameters, Estimate($$"""{ {{rest}} "train_batch_size": 1 }""", 1).ModelStateBytes);

    [Fact]
    public void For_Offload_MovesTheOptimizerAndThenTheWeights()
    {
        MemoryEstimate none = For("""{"stage": 3}""", 4);
        MemoryEstimate optimizer = For("""{"stage": 3, "offload_optimizer": {"device": "cpu"} }""", 4);
        MemoryEstimate both = For("""{"stage": 3, "offload_optimizer": {"device": "nvme", "nvme_path": "/x"}, "offload_param": {"device": "cpu"} }""", 4);

        Assert.Equal((16 * Parameters / 4, 0L), (none.ModelStateBytes, none.HostBytes));
        Assert.Equal((2 * Parameters / 4, 14 * Parameters / 4), (optimizer.ModelStateBytes, optimizer.HostBytes));
        Assert.Equal((0L, 4 * Parameters / 4, 12 * Parameters / 4), (both.ModelStateBytes, both.HostBytes, both.NvmeBytes));
    }

    [Fact]
    public void For_Stage2_BuffersAreTheBuckets()
    {
        Assert.Equal(2 * Parameters, For("""{"stage": 2}""", 4).BufferBytes); // the default bucket is larger than the model
        Assert.Equal(2 * 2 * 1000, For("""{"stage": 2, "reduce_bucket_size": 1000, "overlap_comm": true}""", 4).BufferBytes);
        Assert.Equal(0, For("""{"stage": 1}""", 4).BufferBytes);
    }

    [Fact]
    public void ActivationBytes_Recomputing_KeepsInputsAndOneLayer()
    {
        var shape = new TransformerShape(10, 64);

        Assert.Equal(10 * 34 * 100 * 64, shape.ActivationBytes(100, 2, recompute: false));
        Assert.Equal(10 * 2 * 100 * 64 + 34 * 100 * 64, shape.ActivationBytes(100, 2, recompute: true));
        TransformerShape usual = TransformerShape.Usual(174_400_000_000); // GPT-3: 96 layers, 12288 wide
        Assert.Equal(96, usual.Layers);
        Assert.InRange(usual.Hidden, 12200, 12400);
    }

    private static MemoryEstimate For(string zero, int ranks, long parameters = Parameters) =>
        Estimate($$"""{ "train_micro_batch_size_per_gpu": 1, "bf16": {"enabled": true}, "zero_optimization": {{zero}} }""", ranks, parameters);

    private static MemoryEstimate Estimate(string json, int ranks, long parameters = Parameters) =>
        MemoryEstimate.For(DeepSpeedConfig.Parse(json), parameters, ranks);
}

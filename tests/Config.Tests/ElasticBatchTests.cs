using System.Text.Json;

namespace DeepSpeedSharp.Config.Tests;

/// <summary>Every case of <c>vectors/elasticity.json</c>.</summary>
public sealed class ElasticBatchTests
{
    private static readonly Dictionary<string, string> Messages = new()
    {
        ["bad_version"] = "elasticity.version",
        ["elasticity_disabled"] = "elasticity is off",
        ["gpus_not_positive"] = "_gpus: ",
        ["gpus_per_node_not_multiple_of_model_parallel"] = "is not a multiple of model_parallel_size",
        ["incompatible_world_size"] = "not fit the batch sizes",
        ["micro_batch_above_max_batch"] = "one is above max_train_batch_size",
        ["micro_batches_not_a_list"] = "elasticity.micro_batch_sizes",
        ["micro_batches_not_positive"] = "elasticity.micro_batch_sizes",
        ["min_gpus_above_max_gpus"] = "is above max_gpus",
        ["missing_required_key"] = "elasticity needs it",
        ["model_parallel_needs_v0.2"] = "model parallelism needs version 0.2",
    };

    public static TheoryData<int> Cases() => [.. Enumerable.Range(0, Read("cases").Length)];

    [Fact]
    public void HighlyComposite_Numbers_AreTheReferences()
    {
        Assert.Equal(29, Cases().Count);
        Assert.Equal(Read("highly_composite_numbers").Select(n => n.GetInt32()), ElasticBatch.HighlyComposite);
    }

    [Theory]
    [MemberData(nameof(Cases))]
    public void For_Vector_AgreesWithDeepSpeed(int index)
    {
        JsonElement vector = Read("cases")[index];
        JsonElement reference = vector.GetProperty("reference");
        int worldSize = vector.GetProperty("world_size").GetInt32();
        ElasticBatch Run()
        {
            ElasticityConfig config = DeepSpeedConfig.Parse($$"""{ "elasticity": {{vector.GetProperty("elasticity").GetRawText()}} }""").Elasticity;
            return worldSize == 0 ? ElasticBatch.Find(config) : ElasticBatch.For(config, worldSize);
        }

        if (reference.TryGetProperty("error_kind", out JsonElement kind))
        {
            ConfigException error = Assert.Throws<ConfigException>(Run);
            Assert.Contains(Messages[kind.GetString()!], error.Message, StringComparison.Ordinal);
            return;
        }

        ElasticBatch batch = Run();
        Assert.Equal(reference.GetProperty("final_batch_size").GetInt32(), batch.TrainBatchSize);
        Assert.Equal(reference.GetProperty("valid_gpus").EnumerateArray().Select(n => n.GetInt32()), batch.DataParallelSizes);
        Assert.Equal(reference.TryGetProperty("micro_batch", out JsonElement micro) ? micro.GetInt32() : null, batch.MicroBatchSize);
    }

    // What the numbers are for: whatever number of ranks is allowed, micro batches fill the batch exactly.
    [Theory]
    [InlineData(0.1, 1, 1)]
    [InlineData(0.2, 4, 1)]
    [InlineData(0.2, 4, 2)]
    public void For_EveryAllowedWorldSize_FillsTheSameBatchExactly(double version, int perNode, int modelParallel)
    {
        var config = new ElasticityConfig
        {
            Enabled = true,
            MaxTrainBatchSize = 1000,
            MicroBatchSizes = [2, 3, 4],
            MaxGpus = 100,
            Version = version,
            GpusPerNode = perNode,
            ModelParallelSize = modelParallel,
        };
        ElasticBatch all = ElasticBatch.Find(config);

        Assert.All(all.DataParallelSizes, copies =>
        {
            ElasticBatch batch = ElasticBatch.For(config, copies * modelParallel);
            Assert.Equal(all.TrainBatchSize, batch.TrainBatchSize);
            Assert.Equal(0, batch.TrainBatchSize % (batch.MicroBatchSize!.Value * copies));
        });
    }

    [Fact]
    public void Find_HugeMicroBatches_DoesNotOverflow()
    {
        var config = new ElasticityConfig { Enabled = true, Version = 0.1, MaxTrainBatchSize = int.MaxValue, MicroBatchSizes = [2147483629, 2147483587, 7] };

        Assert.True(ElasticBatch.Find(config).TrainBatchSize > 0);
    }

    private static JsonElement[] Read(string list)
    {
        using JsonDocument document = JsonDocument.Parse(
            File.ReadAllText(Path.Combine(AppContext.BaseDirectory, "vectors", "elasticity.json")));
        return [.. document.RootElement.GetProperty(list).EnumerateArray().Select(e => e.Clone())];
    }
}

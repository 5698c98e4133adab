using System.Text.Json;

namespace DeepSpeedSharp.Config.Tests;

public sealed class BatchPlanTests
{
    /// <summary>The cases of <c>vectors/batch_config.json</c>: what DeepSpeed's own arithmetic gives.</summary>
    public static TheoryData<int, string> Vectors()
    {
        var data = new TheoryData<int, string>();
        int index = 0;
        foreach (JsonElement vector in ReadVectors())
        {
            data.Add(index++, $"{vector.GetProperty("config").GetRawText()} on {vector.GetProperty("dp_world_size")}");
        }

        return data;
    }

    [Theory]
    [MemberData(nameof(Vectors))]
    public void Resolve_Vector_AgreesWithDeepSpeed(int index, string name)
    {
        JsonElement vector = ReadVectors()[index];
        JsonElement expected = vector.GetProperty("expected");

        ConfigReport report = ConfigReport.For(
            vector.GetProperty("config").GetRawText(), vector.GetProperty("dp_world_size").GetInt32());

        if (expected.TryGetProperty("error_kind", out JsonElement kind))
        {
            ConfigError error = Assert.Single(report.Errors);
            Assert.Equal(PathOf(kind.GetString()!, vector.GetProperty("config")), error.Path);
            return;
        }

        Assert.True(report.IsValid, $"{name}: {string.Join("; ", report.Errors)}");
        Assert.Equal(expected.GetProperty("train_batch_size").GetInt32(), report.Batch!.TrainBatchSize);
        Assert.Equal(expected.GetProperty("train_micro_batch_size_per_gpu").GetInt32(), report.Batch.MicroBatchSize);
        Assert.Equal(expected.GetProperty("gradient_accumulation_steps").GetInt32(), report.Batch.GradientAccumulationSteps);
    }

    [Theory]
    [InlineData(30, 4, 2, 4, "30 is not 4 (micro batch) x 2 (accumulation) x 4 (ranks) = 32; use 32 or remove one of the three")]
    [InlineData(30, 4, null, 4, "30 is not a multiple of 4 (micro batch) x 4 (ranks) = 16; use 16 or 32, or another number of ranks")]
    [InlineData(24, null, 5, 2, "24 is not a multiple of 5 (accumulation) x 2 (ranks) = 10; use 20 or 30, or another number of ranks")]
    [InlineData(33, null, null, 2, "33 is not a multiple of 2 (ranks) = 2; use 32 or 34, or another number of ranks")]
    [InlineData(32, null, null, 64, "32 is not a multiple of 64 (ranks) = 64; use 64 or a multiple of it, or fewer ranks")]
    [InlineData(7, 2, null, 1, "7 is not a multiple of 2 (micro batch) x 1 (rank) = 2; use 6 or 8, or another number of ranks")]
    public void Resolve_NumbersThatDoNotFit_SaysWhichToUse(int train, int? micro, int? steps, int worldSize, string expected)
    {
        var batch = new BatchConfig { TrainBatchSize = train, MicroBatchSize = micro, GradientAccumulationSteps = steps };

        ConfigException error = Assert.Throws<ConfigException>(() => BatchPlan.Resolve(batch, worldSize));

        Assert.Equal($"train_batch_size: {expected}", Assert.Single(error.Errors).ToString());
    }

    [Fact]
    public void Resolve_NothingGiven_SaysWhatToWrite()
    {
        ConfigException error = Assert.Throws<ConfigException>(() => BatchPlan.Resolve(new BatchConfig(), 4));

        Assert.Contains("give one of the two, for example \"train_micro_batch_size_per_gpu\": 4", error.Message, StringComparison.Ordinal);
    }

    // 2^31-1 samples fit; the product of the others wraps around in 32 and in 64 bits.
    [Theory]
    [InlineData(int.MaxValue, 1, 1, true)]
    [InlineData(65_536, 65_536, 1, false)]
    [InlineData(1 << 30, 1 << 30, 16, false)]
    public void Resolve_HugeProduct_IsAnErrorNotAWrapAround(int micro, int steps, int worldSize, bool fits)
    {
        var errors = new ConfigErrors();

        BatchPlan? plan = BatchPlan.Resolve(
            new BatchConfig { MicroBatchSize = micro, GradientAccumulationSteps = steps }, worldSize, errors);

        Assert.Equal(fits, plan is not null);
        Assert.Equal(!fits, errors.Any);
    }

    [Fact]
    public void Resolve_HugeProductBesideATrainBatch_IsAnError()
    {
        var batch = new BatchConfig { TrainBatchSize = 8, MicroBatchSize = 1 << 30, GradientAccumulationSteps = 1 << 30 };

        ConfigException error = Assert.Throws<ConfigException>(() => BatchPlan.Resolve(batch, 16));

        Assert.Contains("= 18446744073709551616; remove one of the three", error.Message, StringComparison.Ordinal);
    }

    // A value that is no positive number is named itself; otherwise the numbers disagree, which train_batch_size reports.
    private static string PathOf(string errorKind, JsonElement config)
    {
        foreach (JsonProperty number in config.EnumerateObject())
        {
            if (number.Value.ValueKind != JsonValueKind.Number || number.Value.GetInt32() < 1)
            {
                return number.Name;
            }
        }

        Assert.Contains(errorKind, new[]
        {
            "batch_trio_mismatch", "batch_size_missing", "micro_batch_not_positive", "grad_accum_not_positive",
        });
        return "train_batch_size";
    }

    private static JsonElement[] ReadVectors()
    {
        string path = Path.Combine(AppContext.BaseDirectory, "vectors", "batch_config.json");
        return [.. JsonDocument.Parse(File.ReadAllText(path)).RootElement.GetProperty("cases").EnumerateArray()];
    }
}

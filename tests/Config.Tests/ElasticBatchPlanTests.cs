namespace DeepSpeedSharp.Config.Tests;

/// <summary>A config with elasticity gives every allowed number of ranks the same train batch.</summary>
public sealed class ElasticBatchPlanTests
{
    private const string Elastic = """
        { "elasticity": { "enabled": true, "max_train_batch_size": 2000, "micro_batch_sizes": [2, 4, 6], "max_gpus": 12, "version": 0.1 } }
        """;

    [Fact]
    public void Resolve_EveryAllowedWorldSize_FillsTheSameTrainBatch()
    {
        DeepSpeedConfig config = DeepSpeedConfig.Parse(Elastic);
        IReadOnlyList<int> sizes = ElasticBatch.Find(config.Elasticity).DataParallelSizes;

        BatchPlan[] plans = [.. sizes.Select(size => BatchPlan.Resolve(config, size))];

        Assert.Equal(10, plans.Length);
        Assert.All(plans, plan =>
        {
            Assert.Equal(1680, plan.TrainBatchSize);
            Assert.Equal(1680, plan.MicroBatchSize * plan.GradientAccumulationSteps * plan.WorldSize);
            Assert.Contains(plan.MicroBatchSize, new[] { 2, 4, 6 });
        });
    }

    [Fact]
    public void Resolve_WorldSizeThatDoesNotFit_NamesThoseThatDo()
    {
        ConfigException error = Assert.Throws<ConfigException>(() => BatchPlan.Resolve(DeepSpeedConfig.Parse(Elastic), 11));

        Assert.Contains("11 ranks do not fit the batch sizes; use one of these numbers of ranks: 1, 2, 3,", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Report_ElasticConfig_ShowsTheBatchOfTheWorldSize()
    {
        ConfigReport good = ConfigReport.For(Elastic, 4);
        ConfigReport bad = ConfigReport.For(Elastic, 11);

        Assert.Equal(new BatchPlan(1680, 6, 70, 4), good.Batch);
        Assert.Empty(good.Unsupported);
        Assert.Equal("elasticity", Assert.Single(bad.Errors).Path);
    }

    [Theory]
    [InlineData("", true)]
    [InlineData("""{ "train_batch_size": 30, """, false)]
    [InlineData("""{ "train_batch_size": 30, "ignore": true, """, true)]
    public void Report_BatchSizesBesideElasticity_AreRefusedOrIgnored(string begin, bool isValid)
    {
        string json = (begin.Length == 0 ? Elastic : begin + Elastic.TrimStart()[1..])
            .Replace("\"ignore\": true,", "", StringComparison.Ordinal);
        json = begin.Contains("ignore", StringComparison.Ordinal)
            ? json.Replace("\"enabled\": true,", "\"enabled\": true, \"ignore_non_elastic_batch_info\": true,", StringComparison.Ordinal) : json;

        ConfigReport report = ConfigReport.For(json, 4);

        Assert.Equal(isValid, report.IsValid);
        Assert.Equal(isValid ? 1680 : null, report.Batch?.TrainBatchSize);
    }

    [Theory]
    [InlineData(null, null)]
    [InlineData("", null)]
    [InlineData("""{ "max_train_batch_size": 2000, "micro_batch_sizes": [2, 4, 6], "version": 0.1 }""", null)]
    [InlineData("""{ "max_train_batch_size": 1000, "micro_batch_sizes": [2, 4, 6], "version": 0.1 }""", "elasticity.max_train_batch_size: it is 2000, but DEEPSPEED_ELASTICITY_CONFIG tells the scheduler 1000")]
    [InlineData("""{ "max_train_batch_size": 2000, "micro_batch_sizes": [2, 4], "version": 0.2 }""", "elasticity.micro_batch_sizes: it is [2, 4, 6], but DEEPSPEED_ELASTICITY_CONFIG tells the scheduler [2, 4]")]
    [InlineData("{", "it is no elasticity section in JSON")]
    public void Scheduled_Section_HasToAgree(string? scheduled, string? problem)
    {
        ElasticityConfig config = DeepSpeedConfig.Parse(Elastic).Elasticity;

        Exception? error = Record.Exception(() => ScheduledElasticity.ThrowIfDifferent(config, scheduled));

        Assert.Equal(problem is null, error is null);
        Assert.Contains(problem ?? "", error?.Message ?? "", StringComparison.Ordinal);
    }
}

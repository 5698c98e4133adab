using System.Text.Json;
using System.Text.Json.Nodes;

namespace DeepSpeedSharp.Config.Tests;

public sealed class ConfigReportTests
{
    private const string Full = """
        {
          "train_batch_size": 32, "gradient_accumulation_steps": 2, "gradient_clipping": 0.5, "steps_per_print": 5,
          "optimizer": { "type": "AdamW", "params": { "lr": 1e-4 } },
          "scheduler": { "type": "WarmupLR", "params": { "warmup_num_steps": 10 } }
        }
        """;

    [Fact]
    public void ToJson_Valid_HasEveryDefaultAndDerivedValue()
    {
        JsonNode report = JsonNode.Parse(ConfigReport.For(Full, 4).ToJson())!;

        Assert.True((bool)report["ok"]!);
        Assert.Equal(4, (int)report["train_micro_batch_size_per_gpu"]!);
        JsonNode config = report["config"]!;
        Assert.Equal((32, 4, 2), ((int)config["train_batch_size"]!, (int)config["train_micro_batch_size_per_gpu"]!,
            (int)config["gradient_accumulation_steps"]!));
        Assert.Equal(0.999, (double)config["optimizer"]!["params"]!["betas"]![1]!);
        Assert.Equal("log", (string)config["scheduler"]!["params"]!["warmup_type"]!);
        Assert.Equal(500_000_000, (long)config["zero_optimization"]!["reduce_bucket_size"]!);
    }

    [Fact]
    public void Resolved_ReadAgain_GivesTheSameReport()
    {
        ConfigReport first = ConfigReport.For(Full, 4);

        ConfigReport second = ConfigReport.For(first.Resolved().ToJsonString(), 4);

        Assert.True(second.IsValid, string.Join("; ", second.Errors));
        Assert.Equal(first.ToJson(), second.ToJson());
    }

    [Fact]
    public void ToJson_Invalid_ListsPathProblemAndFix()
    {
        JsonElement report = JsonDocument.Parse(ConfigReport.For("""{ "train_batch_size": 9, "wandb": { "enabled": true } }""", 2).ToJson()).RootElement;

        Assert.False(report.GetProperty("ok").GetBoolean());
        Assert.Equal(
        [
            ("wandb.enabled", "Weights & Biases is not supported", "use \"csv_monitor\" or \"tensorboard\""),
            ("train_batch_size", "9 is not a multiple of 2 (ranks) = 2", "use 8 or 10, or another number of ranks"),
        ], report.GetProperty("errors").EnumerateArray().Select(e => (e.GetProperty("path").GetString()!,
            e.GetProperty("problem").GetString()!, e.GetProperty("fix").GetString()!)));
    }

    [Fact]
    public void For_UnreadableBatchNumber_ReportsItOnce()
    {
        ConfigReport report = ConfigReport.For("""{ "train_batch_size": 8, "gradient_accumulation_steps": 0 }""", 4);

        Assert.Equal("gradient_accumulation_steps", Assert.Single(report.Errors).Path);
    }
}

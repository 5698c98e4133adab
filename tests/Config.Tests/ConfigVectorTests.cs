using System.Text.Json;

namespace DeepSpeedSharp.Config.Tests;

/// <summary>Every case of <c>vectors/config_validation.json</c>: what DeepSpeed makes of a config, and what is
/// recommended where that is a trap.</summary>
public sealed class ConfigVectorTests
{
    // Where each kind of failure has to be reported, for the cases whose path is not the one key of the config.
    private static readonly Dictionary<string, string> Paths = new()
    {
        ["""{"train_batch_size":8,"zero_optimization":null}"""] = "zero_optimization",
        ["""{"train_batch_size":8,"zero_optimization":2}"""] = "zero_optimization",
        ["""{"train_batch_size":8,"zero_optimization":{"stage":3,"prefetch_bucket_size":100,"stage3_prefetch_bucket_size":5}}"""] = "zero_optimization.prefetch_bucket_size",
        ["""{"train_batch_size":8,"zero_optimization":{"stage":2,"cpu_offload":true,"offload_optimizer":{"device":"cpu"}}}"""] = "zero_optimization.cpu_offload",
        ["""{"train_batch_size":8,"zero_optimization":{"stage":2,"offload_param":{"device":"cpu"}}}"""] = "zero_optimization.offload_param",
        ["""{"train_batch_size":8,"gradient_allreduce_op":"sum","zero_optimization":{"stage":3}}"""] = "gradient_allreduce_op",
        ["""{"train_batch_size":8,"optimizer":{"params":{"lr":1}}}"""] = "optimizer.type",
    };

    public static TheoryData<int, string> Cases()
    {
        var data = new TheoryData<int, string>();
        JsonElement[] cases = ReadCases();
        for (int i = 0; i < cases.Length; i++)
        {
            data.Add(i, cases[i].GetProperty("config").GetRawText());
        }

        return data;
    }

    [Fact]
    public void Cases_File_HasAllOfThem() => Assert.Equal(75, ReadCases().Length);

    [Theory]
    [MemberData(nameof(Cases))]
    public void For_Vector_AgreesWithDeepSpeedOrTheRecommendation(int index, string text)
    {
        JsonElement vector = ReadCases()[index];
        JsonElement reference = vector.GetProperty("reference");
        string recommended = vector.TryGetProperty("recommended", out JsonElement r) ? r.GetString()! : "";

        ConfigReport report = ConfigReport.For(text, vector.GetProperty("world_size").GetInt32());

        if (recommended.Contains("error", StringComparison.Ordinal) || reference.TryGetProperty("error_kind", out _))
        {
            ConfigError error = Assert.Single(report.Errors);
            Assert.Equal(Paths.GetValueOrDefault(JsonSerializer.Serialize(vector.GetProperty("config")), LastPath(vector.GetProperty("config"))), error.Path);
            AssertNames(error, recommended);
            return;
        }

        Assert.True(report.IsValid, string.Join("; ", report.Errors));
        JsonElement resolved = JsonSerializer.SerializeToElement(report.Resolved());
        foreach (JsonProperty expected in reference.GetProperty("values").EnumerateObject())
        {
            JsonElement value = expected.Name == "comms_logger_enabled" && recommended == "honour enabled=false"
                ? JsonSerializer.SerializeToElement(false) : expected.Value;
            AssertValue(expected.Name, value, report.Config!, resolved);
        }
    }

    private static void AssertNames(ConfigError error, string recommended)
    {
        foreach (string name in (string[])["zero_optimization.stage", "train_micro_batch_size_per_gpu"])
        {
            if (recommended.Contains(name, StringComparison.Ordinal))
            {
                Assert.Contains(name, error.Fix, StringComparison.Ordinal);
            }
        }

        if (recommended.Contains("known names", StringComparison.Ordinal))
        {
            Assert.Contains("LRRangeTest, ", error.Fix + ", ", StringComparison.Ordinal);
        }
    }

    private static void AssertValue(string name, JsonElement expected, DeepSpeedConfig config, JsonElement resolved)
    {
        object? actual = name switch
        {
            "zero_stage" => config.Zero.Stage,
            "zero_enabled" => config.Zero.Stage > 0,
            "fp16_enabled" => config.Fp16.Enabled,
            "bf16_enabled" => config.Bf16.Enabled,
            "loss_scale" => config.Fp16.LossScale,
            "min_loss_scale" => config.Fp16.MinLossScale,
            "prefetch_bucket_size" => config.Zero.Stage3.PrefetchBucketSize,
            "gather_16bit_weights_on_model_save" => config.Zero.Stage3.Gather16BitWeightsOnModelSave,
            "offload_optimizer_device" => config.Zero.OffloadOptimizer?.Device,
            "offload_param_device" => config.Zero.OffloadParam?.Device,
            "scheduler_name" => config.Scheduler?.Type,
            "tag_validation_enabled" => config.Checkpoint.TagValidation != TagValidation.Ignore,
            "tag_validation_fail" => config.Checkpoint.TagValidation == TagValidation.Fail,
            "comms_logger_enabled" => config.CommsLogger.Enabled,
            // Names are stored in one way of writing here, and compare in any.
            "optimizer_name" => string.Equals(config.Optimizer?.Type, expected.GetString(), StringComparison.OrdinalIgnoreCase)
                ? expected : config.Optimizer?.Type,
            "optimizer_params" => null,
            _ => resolved.TryGetProperty(name, out JsonElement value) ? value : resolved.GetProperty("zero_optimization").GetProperty(name),
        };
        if (name == "optimizer_params")
        {
            JsonElement parameters = resolved.GetProperty("optimizer").GetProperty("params");
            foreach (JsonProperty parameter in expected.EnumerateObject())
            {
                AssertSame($"{name}.{parameter.Name}", parameter.Value, parameters.GetProperty(parameter.Name));
            }

            return;
        }

        AssertSame(name, expected, JsonSerializer.SerializeToElement(actual));
    }

    private static void AssertSame(string name, JsonElement expected, JsonElement actual)
    {
        bool isSame = expected.ValueKind == JsonValueKind.Number && actual.ValueKind == JsonValueKind.Number
            ? expected.GetDouble().Equals(actual.GetDouble()) : expected.ToString() == actual.ToString();
        Assert.True(isSame, $"{name} is {actual}, not {expected}");
    }

    // The last key of the config at its deepest: the vectors put what is wrong there.
    private static string LastPath(JsonElement element)
    {
        JsonProperty last = element.EnumerateObject().Last();
        return last.Value.ValueKind == JsonValueKind.Object && last.Value.EnumerateObject().Any()
            ? $"{last.Name}.{LastPath(last.Value)}" : last.Name;
    }

    private static JsonElement[] ReadCases()
    {
        string path = Path.Combine(AppContext.BaseDirectory, "vectors", "config_validation.json");
        return [.. JsonDocument.Parse(File.ReadAllText(path)).RootElement.GetProperty("cases").EnumerateArray()];
    }
}

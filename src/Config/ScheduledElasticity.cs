using System.Text.Json;

namespace DeepSpeedSharp.Config;

/// <summary>What a scheduler was told of a job's elasticity, in DeepSpeed's variable: it picks numbers of ranks by that, so
/// a program that trains by other numbers would be given ranks that do not fit its batch.</summary>
public static class ScheduledElasticity
{
    /// <summary>The variable: JSON of an elasticity section.</summary>
    public const string Variable = "DEEPSPEED_ELASTICITY_CONFIG";

    /// <summary>Refuses a config that differs from what the scheduler knows.</summary>
    /// <param name="config">The config's section.</param>
    /// <param name="scheduled">Value of the variable; null or empty when no scheduler set it.</param>
    /// <exception cref="ConfigException">Batch limit, micro batch sizes or version differ, or the variable is no JSON.</exception>
    public static void ThrowIfDifferent(ElasticityConfig config, string? scheduled)
    {
        if (!config.Enabled || string.IsNullOrEmpty(scheduled))
        {
            return;
        }

        var errors = new ConfigErrors();
        ElasticityConfig? told = Read(scheduled, errors);
        if (told is not null)
        {
            Compare("max_train_batch_size", $"{config.MaxTrainBatchSize}", $"{told.MaxTrainBatchSize}");
            Compare("micro_batch_sizes", Text(config.MicroBatchSizes), Text(told.MicroBatchSizes));
            Compare("version", FormattableString.Invariant($"{config.Version}"), FormattableString.Invariant($"{told.Version}"));
        }

        errors.ThrowIfAny("the elasticity section");

        void Compare(string key, string own, string other)
        {
            if (own != other)
            {
                errors.Add($"elasticity.{key}", $"it is {own}, but {Variable} tells the scheduler {other}",
                    "submit the job again, so that both agree");
            }
        }
    }

    private static ElasticityConfig? Read(string json, ConfigErrors errors)
    {
        try
        {
            return JsonSerializer.Deserialize<ElasticityConfig>(json);
        }
        catch (JsonException e)
        {
            errors.Add(Variable, $"it is no elasticity section in JSON: {e.Message}", "correct or unset the variable");
            return null;
        }
    }

    private static string Text(IReadOnlyList<int> sizes) => $"[{string.Join(", ", sizes)}]";
}

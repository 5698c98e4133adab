using System.Text.Json.Nodes;
using DeepSpeedSharp.Config;
using DeepSpeedSharp.Config.Schedules;

namespace DeepSpeedSharp.Launcher;

/// <summary>The learning rates that a training with a config will have.</summary>
internal sealed class SchedulePreview
{
    private readonly LearningRateSchedule? _schedule;
    private readonly IReadOnlyList<ScheduleValue> _constant;

    private SchedulePreview(string name, LearningRateSchedule? schedule, IReadOnlyList<double> rates) =>
        (Name, _schedule, _constant) = (name, schedule, [.. rates.Select(rate => new ScheduleValue(rate))]);

    /// <summary>Name of the schedule.</summary>
    public string Name { get; }

    /// <summary>What to know about a setting without effect; null when there is nothing.</summary>
    public string? Warning => _schedule?.Warning;

    /// <summary>What is in force before the first step, per parameter group.</summary>
    public IReadOnlyList<ScheduleValue> Start => _schedule?.At(-1) ?? _constant;

    /// <summary>Finds the schedule and the parameter groups of a config.</summary>
    /// <param name="config">A config without problems.</param>
    /// <param name="errors">Receives what keeps the rates from being known.</param>
    /// <returns>The preview, or null when a problem was added.</returns>
    public static SchedulePreview? For(DeepSpeedConfig config, ConfigErrors errors)
    {
        if (RatesOf(config.Optimizer?.Params, config.Scheduler?.Params, errors) is not { } rates)
        {
            return null;
        }

        if (config.Scheduler is not { } scheduler)
        {
            return new SchedulePreview("constant learning rate", null, rates);
        }

        bool hasBetas = config.Optimizer?.Params is null or AdamParams or LambParams or LionParams;
        try
        {
            return new SchedulePreview(scheduler.Type, LearningRateSchedule.Create(scheduler, rates, hasBetas), rates);
        }
        catch (ConfigException e)
        {
            foreach (ConfigError error in e.Errors)
            {
                errors.Add(error.Path, error.Problem, error.Fix);
            }

            return null;
        }
    }

    /// <summary>What is in force after each step, from the first on. Each list is only valid until the next.</summary>
    public IEnumerable<IReadOnlyList<ScheduleValue>> After(int steps)
    {
        if (_schedule is not null)
        {
            _schedule.LastBatchIteration = -1;
        }

        for (int step = 1; step <= steps; step++)
        {
            _schedule?.Step();
            yield return _schedule?.Current ?? _constant;
        }
    }

    /// <summary>Writes one JSON object per optimizer step.</summary>
    public void WriteJson(int steps, TextWriter output)
    {
        int step = 0;
        foreach (IReadOnlyList<ScheduleValue> values in After(steps))
        {
            var line = new JsonObject
            {
                ["step"] = ++step,
                ["lr"] = new JsonArray([.. values.Select(v => JsonValue.Create(v.LearningRate))]),
            };
            if (values[0].Beta1 is not null)
            {
                line["betas"] = new JsonArray([.. values.Select(v => new JsonArray(v.Beta1, v.Beta2))]);
            }

            output.WriteLine(line.ToJsonString());
        }
    }

    // The optimizer's rate of each group. A program may make more groups than the config tells; a list in the schedule
    // then tells how many.
    private static IReadOnlyList<double>? RatesOf(OptimizerParams? optimizer, ScheduleParams? schedule, ConfigErrors errors)
    {
        bool needsRate = schedule is null or WarmupCosineParams or WarmupParams { MaxLearningRate: null };
        if (optimizer is null && needsRate)
        {
            errors.Add("optimizer", "there is none, so the learning rate is not known", "add \"optimizer\": "
                + "{\"type\": \"AdamW\", \"params\": {\"lr\": 0.001}}"
                + (schedule is WarmupParams ? ", or scheduler.params.warmup_max_lr" : ""));
            return null;
        }

        if (optimizer is MuonParams muon)
        {
            return [muon.MuonLearningRate, muon.AdamLearningRate];
        }

        int groups = schedule switch
        {
            WarmupParams p => Math.Max(p.MinLearningRate.Count, p.MaxLearningRate?.Count ?? 1),
            WarmupDecayParams p => Math.Max(p.MinLearningRate.Count, p.MaxLearningRate.Count),
            OneCycleParams p => Math.Max(p.MinLearningRate.Count, p.MaxLearningRate.Count),
            LRRangeTestParams p => p.MinLearningRate.Count,
            _ => 1,
        };
        return [.. Enumerable.Repeat(optimizer?.LearningRate ?? 0, groups)];
    }
}

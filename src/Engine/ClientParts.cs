using DeepSpeedSharp.Config;
using DeepSpeedSharp.Config.Schedules;
using DeepSpeedSharp.Engine.Optim;
using static TorchSharp.torch;

namespace DeepSpeedSharp.Engine;

/// <summary>What the caller of Initialize brings instead of the config: groups, an optimizer, a schedule.</summary>
internal sealed record ClientParts
{
    public static ClientParts None { get; } = new();

    public IReadOnlyList<ParameterGroupOptions>? ModelParameters { get; init; }

    public optim.Optimizer? OptimizerObject { get; init; }

    public Func<IEnumerable<TorchSharp.Modules.Parameter>, optim.Optimizer>? OptimizerFactory { get; init; }

    public optim.lr_scheduler.LRScheduler? Scheduler { get; init; }

    public Func<FlatOptimizer, LearningRateSchedule>? ScheduleFactory { get; init; }

    private bool HasOptimizer => OptimizerObject is not null || OptimizerFactory is not null;

    /// <summary>All problems of the combination, before anything is built.</summary>
    public void Check(DeepSpeedConfig config)
    {
        var errors = new ConfigErrors();
        if (!HasOptimizer && config.Optimizer is null)
        {
            errors.Add("optimizer", "there is none, in the config or from the caller",
                "add \"optimizer\": {\"type\": \"AdamW\", \"params\": {\"lr\": 0.001}}, or pass one to Initialize");
        }

        if (OptimizerObject is not null && (config.Fp16.Enabled || config.Bf16.Enabled))
        {
            errors.Add("optimizer", "an optimizer object was made for the model's own parameters, but this precision updates an fp32 copy of them",
                "pass a function that makes the optimizer from the parameters it is given");
        }

        if (HasOptimizer && config.Zero.Stage > 0)
        {
            errors.Add("zero_optimization.stage", "an optimizer of the caller's works on whole parameters, and under ZeRO a rank has shards "
                + "of them only (zero_allow_untested_optimizer does not change that)",
                "name the optimizer in the config, or use stage 0");
        }

        if (HasOptimizer && ModelParameters is not null)
        {
            errors.Add("optimizer", "both parameter groups and an optimizer were passed to Initialize",
                "make the groups in your optimizer, or name the optimizer in the config");
        }

        if (Scheduler is not null && OptimizerObject is null)
        {
            errors.Add("scheduler", "a scheduler object needs the optimizer object it was made for",
                "pass that optimizer too, or a function that makes the schedule");
        }

        errors.ThrowIfAny("the DeepSpeed config");
    }

    /// <summary>Decides the groups of the flat buffers.</summary>
    public Func<IReadOnlyList<(string Name, long[] Shape)>, IReadOnlyList<GroupSpec>> Groups(DeepSpeedConfig config) =>
        parameters => HasOptimizer
            ? [new GroupSpec("client", new ClientParams(), [.. parameters.Select(p => p.Name)])]
            : ParameterGrouping.For(config.Optimizer!.Params, parameters, ModelParameters);

    /// <summary>The optimizer: the caller's wins over the config's, as in DeepSpeed.</summary>
    public FlatOptimizer Optimizer(DeepSpeedConfig config, FlatParameters parameters, Device device) => HasOptimizer
        ? OptimizerObject is not null
            ? ClientOptimizer.Of(OptimizerObject, parameters)
            : ClientOptimizer.Of(OptimizerFactory!, parameters)
        : OptimizerFactoryOf(config, parameters, device);

    /// <summary>The schedule: the caller's wins over the config's.</summary>
    /// <returns>A schedule of ours, or what to call after each applied step.</returns>
    public (LearningRateSchedule? Schedule, Action? Step) Schedule(DeepSpeedConfig config, FlatOptimizer optimizer)
    {
        if (Scheduler is { } scheduler)
        {
            return (null, scheduler.step);
        }

        if (ScheduleFactory is not null)
        {
            return (ScheduleFactory(optimizer), null);
        }

        return (config.Scheduler is null ? null : LearningRateSchedule.Create(config.Scheduler,
            [.. optimizer.ParameterGroups.Select(g => g.InitialLearningRate)],
            optimizer.ParameterGroups.All(g => g.Beta2 is not null)), null);
    }

    private static FlatOptimizer OptimizerFactoryOf(DeepSpeedConfig config, FlatParameters parameters, Device device)
    {
        if (parameters.Offload is not { } offload)
        {
            return Optim.OptimizerFactory.Create(config.Optimizer!, parameters.Groups, parameters.Own.Length, device);
        }

        FlatOptimizer host = Optim.OptimizerFactory.Create(config.Optimizer!, parameters.Groups, 0, CPU);
        offload.Attach(host, Optim.OptimizerFactory.Create(config.Optimizer!, parameters.Groups, 0, device));
        return host;
    }
}

using DeepSpeedSharp.Engine.Checkpoint;

namespace DeepSpeedSharp.Engine;

/// <summary>What <see cref="DeepSpeedEngine.LoadCheckpoint"/> restores; the defaults are DeepSpeed's: everything.</summary>
public sealed record LoadCheckpointOptions
{
    /// <summary>False tolerates parameters that the checkpoint has not, or the model has not. A parameter of another shape is refused
    /// nevertheless.</summary>
    public bool LoadModuleStrict { get; init; } = true;

    /// <summary>False leaves the optimizer's state as it is.</summary>
    public bool LoadOptimizerStates { get; init; } = true;

    /// <summary>False leaves the schedule where it is.</summary>
    public bool LoadLrSchedulerStates { get; init; } = true;

    /// <summary>True restores parameters and buffers alone: no counters, schedule, optimizer, loss scale, place in the data or
    /// random numbers.</summary>
    public bool LoadModuleOnly { get; init; }

    /// <summary>Replaces the way in which parameters and buffers are found: gets what the checkpoint has and gives values for the
    /// model's, by their names. Each is used and disposed before the next is asked for.</summary>
    /// <remarks>DeepSpeed's <c>custom_load_fn(src, dst)</c>. Runs on every rank and must give the same on each.</remarks>
    public Func<CheckpointWeights, IEnumerable<(string Name, Tensor Value)>>? CustomLoad { get; init; }

    /// <summary>When no tag is given and the latest checkpoint is damaged, loads the newest earlier one that is whole, with a
    /// warning. False refuses.</summary>
    public bool FallBackToPrevious { get; init; }
}

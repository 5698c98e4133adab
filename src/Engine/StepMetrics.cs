namespace DeepSpeedSharp.Engine;

/// <summary>What one optimizer step measured; the console, the metrics file, the monitors and Prometheus all show this
/// record. The same on every rank.</summary>
public sealed record StepMetrics
{
    /// <summary>Number of the step, from 1; skipped steps count.</summary>
    public required long Step { get; init; }

    /// <summary>Mean loss over ranks and accumulation steps, without the loss scale.</summary>
    public required double Loss { get; init; }

    /// <summary>The learning rate of the first parameter group, in force after the step.</summary>
    public double LearningRate => LearningRates[0];

    /// <summary>The learning rate of each parameter group, in force after the step; at least one.</summary>
    public required IReadOnlyList<double> LearningRates { get; init; }

    /// <summary>Momentum of each parameter group: both betas for optimizers of the Adam family, one number for SGD and
    /// Muon, none for an optimizer without momentum. Empty when the caller brought an optimizer that does not tell.</summary>
    public IReadOnlyList<IReadOnlyList<double>> Momentum { get; init; } = [];

    /// <summary>Global L2 norm of the averaged gradients, before clipping; null when the step was skipped or the norm is
    /// not finite.</summary>
    public double? GradientNorm { get; init; }

    /// <summary>The loss scale in force after the step; null unless training in fp16.</summary>
    public double? LossScale { get; init; }

    /// <summary>Whether this step was skipped because a gradient overflowed.</summary>
    public bool Overflow { get; init; }

    /// <summary>Steps skipped so far.</summary>
    public long SkippedSteps { get; init; }

    /// <summary>Samples seen so far, over all ranks; those of skipped steps count.</summary>
    public long GlobalSamples { get; init; }

    /// <summary>Whether some rank has asked to stop; all ranks see it at the same step.</summary>
    public bool StopRequested { get; init; }
}

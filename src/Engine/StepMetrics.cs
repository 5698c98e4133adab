namespace DeepSpeedSharp.Engine;

/// <summary>What one optimizer step measured. The same on every rank.</summary>
/// <param name="Step">Number of the step, from 1.</param>
/// <param name="Loss">Mean loss over ranks and accumulation steps.</param>
/// <param name="LearningRate">The learning rate in force after the step.</param>
/// <param name="GradientNorm">Global L2 norm of the averaged gradients, before clipping.</param>
/// <param name="StopRequested">Whether some rank has asked to stop; all ranks see it at the same step.</param>
public sealed record StepMetrics(
    long Step, double Loss, double LearningRate, double GradientNorm, bool StopRequested);

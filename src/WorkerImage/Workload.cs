namespace DeepSpeedSharp.Worker;

/// <summary>What a token costs to train on.</summary>
/// <param name="SequenceLength">Tokens of a sample.</param>
/// <param name="FlopsPerToken">Floating-point operations of forward and backward for each token.</param>
internal sealed record Workload(int SequenceLength, double FlopsPerToken);
